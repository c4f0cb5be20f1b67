//! A server's directory is closed to other users, also one that was open to them.

use crate::scratch::written;
use crate::script::{NODE, tiny};
use accord_net::server::journal::Disk;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[test]
fn what_is_in_a_directory_is_for_its_user_alone() {
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    let (scratch, _) = written("permissions");
    let is_closed = || {
        assert_eq!(mode(&scratch.0), 0o700);
        let files = scratch.contents().into_keys();
        files.filter(|path| !path.ends_with("notes")).for_each(|path| {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        });
    };
    is_closed();
    // As an earlier release made them.
    fs::write(scratch.0.join("notes"), b"not the server's").expect("a healthy disk");
    for path in scratch.contents().keys() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("it is ours");
    }
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o755)).expect("it is ours");
    drop(Disk::open(&scratch.0, NODE, tiny()).expect("it is intact"));
    is_closed();
    assert_eq!(mode(&scratch.0.join("notes")), 0o644, "it is left alone");
}
