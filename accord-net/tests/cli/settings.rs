//! Every mistake in the settings is named with its place and with what is allowed.

use super::support::{accord, command, run};
use accord_core::group::ring::Ring;
use accord_core::holder::SecretKey;
use accord_core::ids::StoreId;
use accord_core::replica::log::Recovered;
use accord_core::server::Server;
use accord_core::time::Instant;
use accord_net::server::GroupOptions;
use accord_net::settings::{Given, Place, Settings, Sources, commented_default, new_key};
use std::path::{Path, PathBuf};

fn file(directory: &Path, text: &str) -> PathBuf {
    let path = directory.join("accord.toml");
    std::fs::write(&path, text).expect("the test's directory can be written to");
    path
}

/// The error that a file causes, without the path of the file.
fn error_of(text: &str) -> String {
    let directory = tempfile::tempdir().expect("there is a place for it");
    let path = file(directory.path(), text);
    let sources = Sources { file: Some(path), ..Sources::default() };
    let error = sources.load().and_then(|loaded| loaded.ready().map(drop));
    let error = error.expect_err(text).to_string();
    error.replace(&format!("{}/", directory.path().display()), "")
}

#[test]
fn the_commented_default_reads_as_the_defaults() {
    let printed = accord(&["config"]).done();
    assert_eq!(printed, commented_default());
    let read: Settings = toml::from_str(&printed).expect("it is understood");
    assert_eq!(read, Settings::default());
    // Everything that can be set is in it, with a line that tells what for.
    let lines: Vec<_> = printed.lines().collect();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.contains(" = ")) {
        let commented = line.starts_with('#') || lines[at - 1].starts_with("# ");
        assert!(commented, "no comment: {line}");
    }
    let directory = tempfile::tempdir().expect("there is a place for it");
    let sources = Sources { file: Some(file(directory.path(), &printed)), ..Sources::default() };
    sources.load().and_then(|loaded| loaded.ready()).expect("the defaults can be started");
}

#[test]
fn mistakes_in_form_are_named_with_line_and_column() {
    for (text, expected) in [
        (
            "id = 1\nclient_listn = \"x\"",
            "accord.toml:2:1: unknown setting `client_listn`; did you mean client_listen? Allowed here: id, cluster, mode, group, ",
        ),
        (
            "[ring.timeouts]\ntoken_los_ms = 4",
            "accord.toml:2:1: unknown setting `ring.timeouts.token_los_ms`; did you mean ring.timeouts.token_loss_ms? Allowed in this section: token_loss_ms, ",
        ),
        (
            "[ring]\n  token_loss_ms = 4",
            "accord.toml:2:3: unknown setting `ring.token_loss_ms`; it belongs to the section [ring.timeouts]. Allowed",
        ),
        ("[rign]\nx = 1", "accord.toml:1:2: unknown setting `rign`; did you mean ring?"),
        ("ring = 3", "accord.toml:1:1: ring is a section: write [ring]"),
        (
            "id = \"one\"",
            "accord.toml:1:6: id: invalid type: string \"one\", expected a whole number, 0 or more",
        ),
        (
            "[net]\npeer_bytes_max = -1",
            "accord.toml:2:18: net.peer_bytes_max: invalid value: integer `-1`, expected a whole number, 0 or more",
        ),
        (
            "mode = \"disk\"",
            "accord.toml:1:8: mode: unknown variant `disk`, expected `memory` or `persistent`",
        ),
        (
            "group = \"paxos\"",
            "accord.toml:1:9: group: unknown variant `paxos`, expected one of `solo`, `ring`, `corosync`",
        ),
        (
            "log_format = \"xml\"",
            "accord.toml:1:14: log_format: unknown variant `xml`, expected `text` or `json`",
        ),
        (
            "bootstrap = 1",
            "accord.toml:1:13: bootstrap: invalid type: integer `1`, expected a boolean",
        ),
        ("id = = 1", "accord.toml:1:6: "),
        ("id = 1\nid = 2", "accord.toml:2:1: duplicate key"),
        (
            "servers = 3",
            "accord.toml:1:11: servers: invalid type: integer `3`, expected [[servers]] with `id` and `ring`",
        ),
        ("[[servers]]\nid = 1", "accord.toml:1:1: servers: missing field `ring`"),
        (
            "[[servers]]\nid = 1\nring = \"a:1\"\nport = 3",
            "accord.toml:4:1: unknown field `port`, expected `id` or `ring`",
        ),
    ] {
        let error = error_of(text);
        assert!(error.starts_with(expected), "{text}\ngave {error}\nnot  {expected}");
    }
}

/// A ring of two, so that only what is appended is wrong.
fn ring(more: &str) -> String {
    format!(
        "group = \"ring\"\nkey = \"{}\"\nclient_listen = \"127.0.0.1:0\"\nhttp_listen = \"off\"\n\
         servers = [{{ id = 1, ring = \"127.0.0.1:7901\" }}, {{ id = 2, ring = \"127.0.0.1:7902\" }}]\n{more}",
        new_key()
    )
}

#[test]
fn contradictions_between_servers_are_named() {
    let servers = |list: &str| format!("group = \"ring\"\nkey = \"{}\"\n{list}", new_key());
    let (one, two) =
        ("{ id = 1, ring = \"127.0.0.1:7901\" }", "{ id = 2, ring = \"127.0.0.1:7901\" }");
    for (text, expected) in [
        (
            ring("id = 3"),
            "accord.toml:5:1: this server's id 3 is not among the servers (1, 2): list every",
        ),
        (
            servers(&format!("servers = [{one}, {one}]")),
            "accord.toml:3:1: server 1 is listed twice",
        ),
        (
            servers(&format!("servers = [{one}, {two}]")),
            "accord.toml:3:1: servers 1 and 2 are both at 127.0.0.1:7901",
        ),
        (
            servers("servers = [{ id = 1, ring = \"7901\" }]"),
            "accord.toml:3:1: servers: expected HOST:PORT, such as",
        ),
        (
            "group = \"ring\"\nservers = [{ id = 1, ring = \"127.0.0.1:1\" }]".to_owned(),
            "accord.toml:1:1: a cluster needs a key that all its servers share: make one with `accord key",
        ),
        (ring("key_file = \"x\""), "accord.toml:2:1: key and key_file are both set"),
        (
            ring("").replace("\"ring\"", "\"solo\""),
            "accord.toml:5:1: several servers are listed, but group is solo",
        ),
        (
            "group = \"ring\"\nkey = \"abc\"\nservers = [{ id = 1, ring = \"127.0.0.1:1\" }]"
                .to_owned(),
            "accord.toml:2:1: key: a key has 64 hexadecimal digits, this one has 3",
        ),
    ] {
        let error = error_of(&text);
        assert!(error.starts_with(expected), "{text}\ngave {error}\nnot  {expected}");
    }
}

#[test]
fn bounds_and_addresses_that_cannot_be_are_named() {
    for (text, expected) in [
        (
            "client_listen = \"nowhere\"".to_owned(),
            "accord.toml:1:1: client_listen: expected HOST:PORT, such as 127.0.0.1:7850; found `nowhere`",
        ),
        (
            "http_listen = \"on\"".to_owned(),
            "accord.toml:1:1: http_listen: expected HOST:PORT, or off, such as",
        ),
        (
            "http_listen = \"127.0.0.1:7850\"".to_owned(),
            "accord.toml:1:1: http_listen and client_listen are both 127.0.0.1:7850",
        ),
        (
            ring("[ring]\nwindow_packets_max = 2"),
            "accord.toml:7:1: ring.burst_packets_max, ring.window_packets_max: window_packets_max is below",
        ),
        (
            ring("[ring.timeouts]\ntoken_loss_ms = 1"),
            "accord.toml:7:1: ring.timeouts.token_loss_ms, ",
        ),
        (
            ring("[ring]\ndatagram_bytes_max = 70000"),
            "accord.toml:7:1: ring.datagram_bytes_max: datagram_bytes_max exceeds what UDP carries",
        ),
        (
            ring("[ring]\nmessage_bytes_max = 1000"),
            "accord.toml:7:1: replica.command_bytes_max and replica.batch_bytes_max together do not fit",
        ),
        (
            "[limits]\nconns_max = 0".to_owned(),
            "accord.toml:2:1: limits.conns_max is 0: at least 1",
        ),
        (
            "[state]\nsteps_max = 70000".to_owned(),
            "accord.toml:2:1: state.steps_max: from 1 to 65535",
        ),
        (
            "[state]\ntimeout_ms_min = 10\ntimeout_ms_max = 5".to_owned(),
            "accord.toml:2:1: state.timeout_ms_min is above",
        ),
        (
            "[state]\nvalue_bytes_max = 4000000000".to_owned(),
            "accord.toml:2:1: state.value_bytes_max: at most 95 MiB",
        ),
        (
            "[replica]\ndigest_interval = 0".to_owned(),
            "accord.toml:2:1: replica.digest_interval is 0",
        ),
        (
            "[replica]\ncommand_bytes_max = 10".to_owned(),
            "accord.toml:2:1: replica.command_bytes_max: at least 64",
        ),
        (
            "[replica]\nbatch_bytes_max = 9000000000000000000".to_owned(),
            "accord.toml:2:1: replica.batch_bytes_max is 9000000000000000000: at most",
        ),
        (
            "[net]\ndrain_timeout_ms = 99999999999999".to_owned(),
            "accord.toml:2:1: net.drain_timeout_ms is 99999999999999: at most 31536000000",
        ),
    ] {
        let error = error_of(&text);
        assert!(error.starts_with(expected), "{text}\ngave {error}\nnot  {expected}");
    }
}

/// The paths of all settings that are numbers.
fn numbers(table: &toml::Table, section: &str, found: &mut Vec<String>) {
    for (name, value) in table {
        match value {
            toml::Value::Table(inner) => numbers(inner, &format!("{section}{name}."), found),
            toml::Value::Integer(_) => found.push(format!("{section}{name}")),
            _ => {}
        }
    }
}

#[test]
fn whatever_number_is_set_the_core_takes_it_or_it_is_refused_before() {
    let mut paths = Vec::new();
    numbers(&toml::from_str(&commented_default()).expect("it is TOML"), "", &mut paths);
    assert!(paths.len() > 50, "{paths:?}");
    let (mut taken, mut refused) = (0, 0);
    for path in &paths {
        for number in ["0", "1", "4294967295", "1125899906842624", "9223372036854775807"] {
            let fixed = [
                given("group", "ring"),
                given("key", &new_key()),
                given("servers", "0=127.0.0.1:7900,1=127.0.0.1:7901"),
            ];
            let flags = fixed.into_iter().chain([given(path, number)]).collect();
            let sources = Sources { flags, ..Sources::default() };
            let Ok(ready) = sources.load().and_then(|loaded| loaded.ready()) else {
                refused += 1;
                continue;
            };
            taken += 1;
            let (now, node) = (Instant::ZERO, ready.options.node);
            let GroupOptions::Ring(ring) = &ready.options.group else { panic!("it is a ring") };
            let recovered = Recovered::fresh(StoreId(1), true);
            drop(Server::new(ready.options.core(SecretKey::new([0; 32])), recovered, 1, now));
            drop(Ring::new(ring.core(node), 1, now));
        }
    }
    assert!(taken > 100 && refused > 100, "{taken} {refused}");
}

fn given(path: &str, text: &str) -> Given {
    let place = Place::Flag(format!("--set {path}={text}"));
    Given { place, path: path.to_owned(), text: text.to_owned() }
}

#[test]
fn a_flag_goes_before_the_environment_which_goes_before_the_file() {
    let directory = tempfile::tempdir().expect("there is a place for it");
    let text = "id = 1\nlog = \"warn\"\n[ring]\nburst_packets_max = 1\nevents_max = 11\n";
    let variable = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let sources = Sources {
        file: Some(file(directory.path(), text)),
        environment: vec![
            variable("ACCORD_ID", "2"),
            variable("ACCORD_LOG", "error"),
            variable("ACCORD_RING__BURST_PACKETS_MAX", "2"),
            variable("ACCORD_RING__TIMEOUTS__TOKEN_LOSS_MS", "1_234"),
            variable("ACCORD_MEMBERS", "1=a:1, 3=b:2"),
            variable("ACCORD_SERVERS", "elsewhere:7850"),
            variable("ACCORD_CLIENT_LISTN", "x"),
            variable("OTHER", "x"),
        ],
        flags: vec![given("id", "9"), given("id", "3"), given("bootstrap", "true")],
    };
    let loaded = sources.load().expect("all of it is well-formed");
    let s = &loaded.settings;
    assert_eq!((s.id, s.log.as_str(), s.bootstrap), (3, "error", true));
    assert_eq!((s.ring.burst_packets_max, s.ring.events_max), (2, 11));
    assert_eq!(s.ring.timeouts.token_loss_ms, 1234);
    assert_eq!(s.servers.iter().map(|member| member.id).collect::<Vec<_>>(), [1, 3]);
    let warning = "environment variable ACCORD_CLIENT_LISTN is no setting and is not looked at; \
                   did you mean ACCORD_CLIENT_LISTEN?";
    assert_eq!(loaded.warnings, [warning]);
}

#[test]
fn a_wrong_flag_or_variable_is_named_as_it_was_given() {
    for (name, text, expected) in [
        (
            "ACCORD_ID",
            "x",
            "accord: environment variable ACCORD_ID: id: expected a whole number, 0 or more, found `x`\n",
        ),
        (
            "ACCORD_BOOTSTRAP",
            "maybe",
            "accord: environment variable ACCORD_BOOTSTRAP: bootstrap: expected true or false, found `maybe`\n",
        ),
        (
            "ACCORD_MEMBERS",
            "1",
            "accord: environment variable ACCORD_MEMBERS: servers: expected the servers as ID=HOST:PORT",
        ),
        (
            "ACCORD_MODE",
            "disk",
            "accord: environment variable ACCORD_MODE: mode: unknown variant `disk`",
        ),
    ] {
        let error = run(command().arg("server").env(name, text), b"").failed(2);
        assert!(error.starts_with(expected), "{error}");
    }
    for (args, expected) in [
        (&["--set", "x"][..], "accord: --set x: expected SECTION.KEY=VALUE"),
        (&["--set", "ring.x=1"], "accord: --set ring.x=1: unknown setting `ring.x`;"),
        (
            &["--set", "foo.x=1"],
            "accord: --set foo.x=1: unknown section `foo`; There are: ring, ring.timeouts, corosync, limits",
        ),
        (&["--id", "-"], "accord: --id -: id: expected a whole number"),
        (&["--log", "a=b=c"], "accord: log: `a=b=c`: "),
        (&["--config", "no-such-file.toml"], "accord: cannot read no-such-file.toml: "),
        (
            &["--client-listen", "no.such.host.invalid:1"],
            "accord: --client-listen no.such.host.invalid:1: client_listen: the host of `no.such.host.invalid:1` is not found",
        ),
    ] {
        let error = run(command().arg("server").args(args), b"").failed(2);
        assert!(error.starts_with(expected), "{args:?}: {error}");
    }
}

#[test]
fn a_key_file_is_found_beside_the_configuration_and_should_be_private() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("there is a place for it");
    let text = "group = \"ring\"\nkey_file = \"accord.key\"\nservers = [{ id = 1, ring = \"127.0.0.1:7901\" }]";
    let sources = Sources { file: Some(file(directory.path(), text)), ..Sources::default() };
    let loaded = sources.load().expect("it is well-formed");
    let error = loaded.ready().expect_err("there is no key").to_string();
    assert!(
        error.contains("accord.toml:2:1: key_file ")
            && error.contains("Make one with `accord key > "),
        "{error}"
    );
    let key = directory.path().join("accord.key");
    std::fs::write(&key, accord(&["key"]).done()).expect("it can be written");
    for (mode, warnings) in [(0o644, 1), (0o600, 0)] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).expect("it is ours");
        let ready = loaded.ready().expect("the key is there");
        assert_eq!(ready.warnings.len(), warnings, "{mode:o}: {:?}", ready.warnings);
    }
}

#[test]
fn persistent_mode_needs_a_directory_that_can_be_written() {
    let fixed = ["server", "--mode", "persistent", "--client-listen", "127.0.0.1:0"];
    let error = run(command().args(fixed).args(["--http-listen", "off"]), b"").failed(2);
    let expected = "accord: --mode persistent: mode is persistent, but data_dir is empty";
    assert!(error.starts_with(expected), "{error}");
    let directory = tempfile::tempdir().expect("there is a place for it");
    // A file where a directory is needed fails whoever runs the test.
    let path = file(directory.path(), "");
    let path = path.to_str().expect("it is text");
    let args = ["--http-listen", "off", "--data-dir", path];
    let error = run(command().args(fixed).args(args), b"").failed(1);
    assert!(error.contains(path), "{error}");
}

#[test]
fn clusters_of_different_names_have_different_keys() {
    let directory = tempfile::tempdir().expect("there is a place for it");
    let rest = ring("");
    let key_of = |name: &str| {
        let text = format!("cluster = \"{name}\"\n{rest}");
        let sources = Sources { file: Some(file(directory.path(), &text)), ..Sources::default() };
        let ready = sources.load().and_then(|loaded| loaded.ready()).expect("it can be started");
        assert_eq!(ready.options.cluster, name);
        let GroupOptions::Ring(ring) = ready.options.group else { panic!("it is a ring") };
        ring.key
    };
    assert_eq!(key_of("a"), key_of("a"));
    assert_ne!(key_of("a"), key_of("b"));
    for name in ["", "two words", "\u{fc}"] {
        let error = error_of(&format!("cluster = \"{name}\""));
        assert!(error.starts_with("accord.toml:1:1: cluster: a name of 1 to 64"), "{error}");
    }
}
