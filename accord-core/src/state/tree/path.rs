//! Paths of znodes: which are valid, and how one leads to its parent.
//!
//! A path is text in UTF-8 that begins with `/`. The tree holds znodes under their whole paths; the
//! root alone is held under the empty one, so that the parent of every path is what stands before
//! its last `/`, and the children of every path are what begins with it and a `/`.
//!
//! What is checked, and in which order, is what ZooKeeper checks. Questions do not validate their
//! path at all: there is simply no znode of an invalid one.

use super::error::TreeError;

/// The root, as clients name it.
pub const ROOT: &[u8] = b"/";
/// The membership of the cluster, as text.
pub const CONFIG: &[u8] = b"/zookeeper/config";
/// What quotas are set under.
pub(super) const QUOTA: &[u8] = b"/zookeeper/quota";
/// The znode that holds `/zookeeper/config` and `/zookeeper/quota`.
pub(super) const RESERVED: &[u8] = b"/zookeeper";

/// The path under which the tree holds the znode that a client names.
pub(super) fn held(path: &[u8]) -> &[u8] {
    if path == ROOT { &[] } else { path }
}

/// The path that a client knows a held one by.
pub(super) fn named(held: &[u8]) -> &[u8] {
    if held.is_empty() { ROOT } else { held }
}

/// What stands before the last `/` of a path, and what stands behind it.
pub(super) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = path.iter().rposition(|byte| *byte == b'/')?;
    Some((&path[..slash], &path[slash + 1..]))
}

/// The held path of the parent of a held path other than the root's.
pub(super) fn parent(held: &[u8]) -> &[u8] {
    split(held).map_or(&[], |(parent, _)| parent)
}

/// The parent of a path that is to be created; the path itself is checked later.
pub(super) fn parent_to_create_in(path: &[u8]) -> Result<&[u8], TreeError> {
    let (parent, _) = split(path).ok_or(TreeError::BadArguments)?;
    if path.contains(&0) { Err(TreeError::BadArguments) } else { Ok(parent) }
}

/// The parent of a path that is to be deleted: none of the znodes that are always there.
pub(super) fn parent_to_delete_from(path: &[u8]) -> Result<&[u8], TreeError> {
    let always = [ROOT, RESERVED, QUOTA, CONFIG];
    if always.contains(&path) { Err(TreeError::BadArguments) } else { parent_to_create_in(path) }
}

/// Checks that a path is one that a znode may have.
pub(super) fn validate(path: &[u8], bytes_max: u32) -> Result<(), TreeError> {
    let valid = path.len() <= bytes_max as usize && is_valid(path);
    if valid { Ok(()) } else { Err(TreeError::BadArguments) }
}

fn is_valid(path: &[u8]) -> bool {
    if path == ROOT {
        return true;
    }
    let Some(names) = path.strip_prefix(ROOT) else { return false };
    let Ok(names) = core::str::from_utf8(names) else { return false };
    names.split('/').all(|name| !matches!(name, "" | "." | "..") && name.chars().all(is_allowed))
}

/// ZooKeeper forbids control characters, and what Java holds as surrogates, private or special
/// code units: everything outside the basic plane is among them.
const fn is_allowed(character: char) -> bool {
    !matches!(
        character,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..=char::MAX
    )
}

/// A path and those above it, from the deepest up, without the root. All are held paths.
pub(super) fn upwards(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = (0..path.len()).rev().filter(|at| path[*at] == b'/' && *at > 0);
    core::iter::once(path.len()).filter(|len| *len > 0).chain(ends).map(|end| &path[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn paths_are_valid_as_zookeeper_has_it() {
        let valid = ["/", "/a", "/a/b", "/a.b/..c/.d", "/\u{ffef}", "/a b", "/zookeeper/config"];
        for path in valid {
            assert_eq!(validate(path.as_bytes(), 100), Ok(()), "{path:?}");
        }
        let invalid = [
            "",
            "a",
            "a/b",
            "/a/",
            "//",
            "//a",
            "/a//b",
            "/.",
            "/..",
            "/a/.",
            "/a/..",
            "/./a",
            "/a/../b",
            "/a\0",
            "/\u{1}",
            "/\u{1f}",
            "/\u{7f}",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{f8ff}",
            "/\u{fff0}",
            "/\u{ffff}",
            "/\u{10000}",
            "/\u{1f600}",
        ];
        for path in invalid {
            assert_eq!(validate(path.as_bytes(), 100), Err(TreeError::BadArguments), "{path:?}");
        }
        assert_eq!(validate(b"/\xff", 100), Err(TreeError::BadArguments));
        assert_eq!(validate(b"/abc", 4), Ok(()));
        assert_eq!(validate(b"/abc", 3), Err(TreeError::BadArguments));
    }

    #[test]
    fn parents_are_what_stands_before_the_last_slash() {
        assert_eq!(parent_to_create_in(b"/a"), Ok(&b""[..]));
        assert_eq!(parent_to_create_in(b"/a/b"), Ok(&b"/a"[..]));
        assert_eq!(parent_to_create_in(b"/a/"), Ok(&b"/a"[..]));
        assert_eq!(parent_to_create_in(b"//"), Ok(&b"/"[..]));
        assert_eq!(parent_to_create_in(b"a"), Err(TreeError::BadArguments));
        assert_eq!(parent_to_create_in(b"/a\0"), Err(TreeError::BadArguments));
        for path in ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
            let refused = Err(TreeError::BadArguments);
            assert_eq!(parent_to_delete_from(path.as_bytes()), refused, "{path}");
        }
        assert_eq!(parent_to_delete_from(b"/zookeeper/quota/a"), Ok(&b"/zookeeper/quota"[..]));
        let all: Vec<&[u8]> = upwards(b"/a/b/c").collect();
        assert_eq!(all, [&b"/a/b/c"[..], b"/a/b", b"/a"]);
        assert_eq!(upwards(b"").count(), 0);
    }
}
