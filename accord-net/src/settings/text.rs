//! The default configuration as a file with a comment for everything.

use super::schema::{SECTIONS, Settings, is_setting, join};
use super::sources::value_at;
use std::fmt::Write as _;

const HEAD: &str = "\
# Accord: the settings of one server, with their defaults.
#
# Every setting is also an environment variable (client_listen is ACCORD_CLIENT_LISTEN, and
# token_loss_ms of [ring.timeouts] is ACCORD_RING__TIMEOUTS__TOKEN_LOSS_MS) and a flag (--set
# ring.timeouts.token_loss_ms=400). A flag goes before the environment, which goes before this file.
";

const EXAMPLE: &str = "\
# As an environment variable: ACCORD_MEMBERS=1=10.0.0.1:7900,2=10.0.0.2:7900
#
# [[servers]]
# id = 1
# ring = \"10.0.0.1:7900\"
# [[servers]]
# id = 2
# ring = \"10.0.0.2:7900\"
";

/// The default configuration, commented. Reading it gives the defaults.
///
/// # Panics
/// Never: the defaults have a form in TOML.
pub fn commented_default() -> String {
    let defaults = toml::Table::try_from(Settings::default()).expect("the defaults are TOML");
    let mut text = HEAD.to_owned();
    for section in &SECTIONS {
        if !section.path.is_empty() {
            text.push('\n');
            comment(&mut text, section.about);
            let _ = writeln!(text, "[{}]", section.path);
        }
        for field in section.fields {
            let path = join(section.path, field.name);
            if !is_setting(&path) {
                continue;
            }
            text.push('\n');
            comment(&mut text, field.doc);
            if path == "servers" {
                text.push_str(EXAMPLE);
            } else {
                let value = value_at(&defaults, &path).expect("every setting has a default");
                let _ = writeln!(text, "{} = {value}", field.name);
            }
        }
    }
    text
}

fn comment(text: &mut String, lines: &[&str]) {
    for line in lines {
        let _ = writeln!(text, "#{line}");
    }
}
