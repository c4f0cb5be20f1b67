//! This program's own command line, as it is typed in a shell.

use std::path::{Path, PathBuf};

/// This program as it was called, so that a command made of it works in the same place, in the
/// repository or not.
pub fn this_program() -> String {
    let called = std::env::args_os().next().map(PathBuf::from);
    called.map_or_else(|| "accord-sim".to_owned(), |path| typed_path(&path))
}

/// A path as it is typed in a shell: in quotes if it needs them.
pub fn typed_path(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-=,:@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The arguments that this program was called with, each after a space.
pub fn arguments() -> String {
    std::env::args_os().skip(1).map(|it| format!(" {}", typed_path(Path::new(&it)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_if_a_shell_would_take_it_apart() {
        assert_eq!(
            typed_path(Path::new("target/accord-sim/seed-1.plan")),
            "target/accord-sim/seed-1.plan"
        );
        assert_eq!(typed_path(Path::new("my plans/a.plan")), "'my plans/a.plan'");
        assert_eq!(typed_path(Path::new("it's")), "'it'\\''s'");
        assert_eq!(typed_path(Path::new("")), "''");
    }
}
