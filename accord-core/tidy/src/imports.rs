//! Which file of a crate imports from which, and the circles that come of it.
//!
//! Files that import from each other in a circle can only be read and changed together. An import
//! is any path to a module of the same crate, in a `use` or in the code. Two kinds are left out:
//! those of tests, and those of a file from a module that it is inside of, because a child may know
//! its parent. A path ends at the deepest module that it names, so a re-export stands for the file
//! that re-exports.

use crate::{code_only, without_tests};
use std::collections::{BTreeMap, BTreeSet};

/// The module that a file is, as the names from its crate's root on.
type Module = Vec<String>;

/// The files of one crate, by the module that each is.
struct Crate<'a> {
    files: BTreeMap<Module, &'a str>,
}

/// Circles of more than `most` files in the crates that these files make up, as `(path, text)`
/// with paths that have `/` in them. A directory with a `lib.rs` or a `main.rs` is the root of a
/// crate.
pub fn circles(sources: &[(String, String)], most: usize) -> Vec<String> {
    let roots: BTreeSet<&str> = sources.iter().filter_map(|(path, _)| root(path)).collect();
    let mut crates: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for (path, text) in sources {
        let inside = |root: &&&str| path.starts_with(&format!("{root}/"));
        if let Some(root) = roots.iter().filter(inside).max_by_key(|root| root.len()) {
            crates.entry(root).or_default().push((path, text));
        }
    }
    crates.iter().flat_map(|(root, files)| circles_of(root, files, most)).collect()
}

/// What never imports what: the files of a folder, and modules of the same crate.
///
/// The service orders and applies, and knows no client; the gateway serves clients, and knows no
/// replica. What is replicated knows neither. The gateway speaks no protocol: that is for the
/// front-end of the protocol, in a folder of its own.
const NEVER: [(&str, &[&str]); 5] = [
    ("accord-core/src/gateway/", &["replica", "server", "client"]),
    ("accord-core/src/gateway/", &["protocol", "stream"]),
    ("accord-core/src/service/", &["protocol", "gateway", "server", "client"]),
    ("accord-core/src/state/", &["replica", "service", "gateway", "server", "protocol", "client"]),
    ("accord-core/src/replica/", &["state", "service", "gateway", "server", "protocol", "client"]),
];

/// Where one of these modules is imported all the same.
const ALLOWED: [(&str, &[&str]); 1] =
    [("accord-core/src/gateway/native/", &["protocol", "stream"])];

/// Imports that [`NEVER`] refuses, tests included, as `path: module`.
pub fn refused(sources: &[(String, String)]) -> Vec<String> {
    let found = |(path, text): &(String, String)| {
        let code = code_only(text);
        let modules = |rules: &[(&str, &'static [&'static str])]| {
            let rules = rules.iter().filter(|(folder, _)| path.starts_with(folder));
            rules.flat_map(|(_, modules)| modules.iter().copied()).collect::<Vec<_>>()
        };
        let allowed = modules(&ALLOWED);
        let modules = modules(&NEVER).into_iter();
        let used = |module: &&str| !allowed.contains(module) && mentions(&code, module);
        modules.filter(used).map(|module| format!("{path}: {module}")).collect::<Vec<_>>()
    };
    sources.iter().flat_map(found).collect()
}

/// True if the code names a module of its crate's root.
fn mentions(code: &str, module: &str) -> bool {
    let path = format!("crate::{module}");
    let ends = |rest: &str| !rest.starts_with(|it: char| it.is_alphanumeric() || it == '_');
    let direct = code.match_indices(&path).any(|(at, _)| ends(&code[at + path.len()..]));
    // Of several modules in one `use crate::{..}`.
    direct
        || code.split("crate::{").skip(1).any(|rest| {
            let list = rest.split(';').next().unwrap_or_default();
            list.split(|it: char| !(it.is_alphanumeric() || it == '_')).any(|word| word == module)
        })
}

/// The directory of a crate's root, if the path is one.
fn root(path: &str) -> Option<&str> {
    path.strip_suffix("/lib.rs").or_else(|| path.strip_suffix("/main.rs"))
}

fn circles_of(root: &str, files: &[(&str, &str)], most: usize) -> Vec<String> {
    let module = |path: &str| module_of(path.strip_prefix(root).unwrap_or(path));
    let known = Crate { files: files.iter().map(|(path, _)| (module(path), *path)).collect() };
    let edges: BTreeMap<&str, BTreeSet<&str>> = files
        .iter()
        .map(|(path, text)| {
            let code = without_tests(&code_only(text));
            (*path, known.imports(&module(path), &code))
        })
        .collect();
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        edges.keys().map(|from| (*from, reached_from(from, &edges))).collect();
    let mut found = BTreeSet::new();
    for (from, there) in &reached {
        let circle: BTreeSet<&str> =
            there.iter().copied().filter(|to| reached[to].contains(from)).collect();
        if circle.len() > most {
            let names: Vec<&str> = circle.into_iter().collect();
            found.insert(format!("{} files import in a circle: {}", names.len(), names.join(", ")));
        }
    }
    found.into_iter().collect()
}

/// The module that the file at a path below its crate's root is.
fn module_of(path: &str) -> Module {
    let path = path.trim_start_matches('/').trim_end_matches(".rs");
    let mut names: Module = path.split('/').map(str::to_owned).collect();
    if names.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        names.pop();
    }
    names
}

/// All files that can be reached from one by its imports.
fn reached_from<'a>(from: &str, edges: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<&str> = edges[from].iter().copied().collect();
    while let Some(file) = waiting.pop() {
        if reached.insert(file) {
            waiting.extend(edges.get(file).into_iter().flatten());
        }
    }
    reached
}

impl<'a> Crate<'a> {
    /// The files that the code of a module imports from.
    fn imports(&self, module: &Module, code: &str) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        for path in paths(code) {
            let Some(target) = self.resolve(module, &path) else { continue };
            if !module.starts_with(&target) {
                found.extend(self.files.get(&target).copied());
            }
        }
        found
    }

    /// The deepest module that a path of a module's code names. `None`: it leads elsewhere.
    fn resolve(&self, module: &Module, path: &[String]) -> Option<Module> {
        let ups = path.iter().take_while(|name| *name == "super").count();
        let mut at: Module = match path.first()?.as_str() {
            "crate" => Module::new(),
            "self" => module.clone(),
            "super" => module[..module.len().checked_sub(ups)?].to_vec(),
            first => {
                let child = [&module[..], &[first.to_owned()]].concat();
                return self.files.contains_key(&child).then(|| self.descend(child, &path[1..]));
            }
        };
        let named = ups.max(1);
        at = self.descend(at, &path[named..]);
        Some(at)
    }

    fn descend(&self, mut at: Module, names: &[String]) -> Module {
        for name in names {
            at.push(name.clone());
            if !self.files.contains_key(&at) {
                at.pop();
                break;
            }
        }
        at
    }
}

/// Every path in the code: a name and what follows it after `::`, one for each leaf of braces.
fn paths(code: &str) -> Vec<Vec<String>> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let begins = is_name(tokens[at]) && (at == 0 || tokens[at - 1] != "::");
        at = if begins { path(&tokens, at, &[], &mut found) } else { at + 1 };
    }
    found
}

/// Takes in the path that begins at a token, after what stands before its braces. Returns where it
/// ends.
fn path(tokens: &[&str], from: usize, before: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut names = before.to_vec();
    let mut at = from;
    loop {
        match tokens.get(at) {
            Some(&"{") if !names.is_empty() && tokens[at - 1] == "::" => {
                at += 1;
                while at < tokens.len() && tokens[at] != "}" {
                    at = path(tokens, at, &names, found);
                    // What follows is another name for it, or the comma.
                    while at < tokens.len() && !matches!(tokens[at], "," | "}") {
                        at += 1;
                    }
                    at += usize::from(tokens.get(at) == Some(&","));
                }
                return at + 1;
            }
            Some(name) if is_name(name) || *name == "*" => {
                names.push((*name).to_owned());
                at += 1;
            }
            _ => break,
        }
        if tokens.get(at) != Some(&"::") {
            break;
        }
        at += 1;
    }
    // A single name is no path, but in braces it ends one.
    if names.len() > 1 {
        found.push(names);
    }
    at.max(from + 1)
}

/// Names, `::` and single other characters.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let in_name = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            ':' if rest.starts_with("::") => 2,
            first if in_name(first) => rest.find(|c| !in_name(c)).unwrap_or(rest.len()),
            first => first.len_utf8(),
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

fn is_name(token: &str) -> bool {
    token.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(path, text)| (format!("x/src/{path}"), (*text).to_owned())).collect()
    }

    #[test]
    fn a_circle_over_files_and_folders_is_found_once() {
        let planted = sources(&[
            ("lib.rs", "pub mod a; mod b; mod d;\npub use a::A;"),
            ("a.rs", "use crate::b::{c::C, B};"),
            ("b/mod.rs", "//! Of `crate::a`.\nmod c;\nuse super::d;"),
            ("b/c.rs", "fn f() -> crate::d::D { super::super::d::g() }"),
            ("d.rs", "use crate::{a::A, b::c};\nuse std::a::b;"),
        ]);
        let circle = "4 files import in a circle: \
                      x/src/a.rs, x/src/b/c.rs, x/src/b/mod.rs, x/src/d.rs";
        assert_eq!(circles(&planted, 3), [circle]);
        assert_eq!(circles(&planted, 4), [""; 0]);
    }

    #[test]
    fn tests_comments_parents_and_other_crates_close_no_circle() {
        let fine = sources(&[
            ("lib.rs", "mod a; mod b;\nuse a::A;\nfn f() { b::g() }"),
            ("a.rs", "use crate::Top;\n#[cfg(test)]\nmod tests { use crate::b::B; }"),
            ("b.rs", "// use crate::c;\nuse crate::a::A;\nconst X: &str = \"crate::c\";"),
            ("c.rs", "use super::b::B;"),
            ("main.rs", "use x::a::A;"),
            ("bin/y/main.rs", "mod a;\nuse crate::a::A;"),
            ("bin/y/a.rs", "use x::a::A;"),
        ]);
        assert_eq!(circles(&fine, 1), [""; 0]);
    }

    #[test]
    fn a_path_has_one_end_for_each_leaf_of_its_braces() {
        let joined = |code| paths(code).iter().map(|path| path.join(" ")).collect::<Vec<_>>();
        assert_eq!(
            joined("use crate::a::{self, b::{C, D as E}, f};"),
            ["crate a self", "crate a b C", "crate a b D", "crate a f"]
        );
        assert_eq!(joined("let x = y.z(super::w::V::U { t: 1 });"), ["super w V U"]);
    }
}
