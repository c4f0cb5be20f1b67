//! The core links without the standard library: builds and runs `no_std_proof`, and shows that the
//! proof would fail if the library were there.

use std::path::Path;
use std::process::{Command, Output};

/// Runs cargo on the proof, which is a workspace of its own.
fn cargo(arguments: &[&str]) -> Output {
    let core = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).arg("--manifest-path").arg(core.join("tests/no_std_proof/Cargo.toml"));
    command.arg("--target-dir").arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_std_proof"));
    // Flags of the outer build, such as coverage, would bring the standard library.
    for flags in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        command.env_remove(flags);
    }
    command.output().expect("cargo can be run")
}

#[test]
fn a_program_without_the_standard_library_links_the_core_and_commits() {
    let run = cargo(&["run", "--quiet", "--locked"]);
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    let counter = cargo(&["build", "--quiet", "--locked", "--features", "with_std"]);
    let said = String::from_utf8_lossy(&counter.stderr);
    let refused = said.contains("found duplicate lang item `panic_impl`");
    assert!(!counter.status.success() && refused, "the proof proves nothing:\n{said}");
}
