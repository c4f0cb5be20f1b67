//! The catalogue: what bugs there are, and the sources with one of them in.
//!
//! A patch is a unified diff that begins with its story, in lines that begin with `# `: a sentence,
//! and after it whatever else a reader should know. A line `# Found by: LAYER` says which layer of
//! the tests finds the bug soonest; without one it is the bare world. It applies to the sources as
//! they are, with every line of context as it says; only line numbers may have moved.

use diffy::patch_set::{FileOperation, FilePatch, ParseOptions, PatchSet};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};
use thiserror::Error;

/// Where the patches are, from the root of the sources.
const DIRECTORY: &str = "sim/bugs";
/// How many leading parts of a path in a patch are not part of it: `a/` and `b/`.
const STRIPPED: usize = 1;
/// Begins the line of a patch that names a layer.
const FOUND_BY: &str = "Found by:";

/// A known mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bug {
    /// The name of its patch, without the ending.
    pub name: String,
    /// What goes wrong, in a sentence.
    pub story: String,
    /// The layer that finds it soonest, as its patch says.
    pub found_by: Option<String>,
    /// The patch.
    diff: String,
}

/// All bugs, by name.
#[derive(Clone, Debug)]
pub struct Catalogue {
    bugs: Vec<Bug>,
}

/// The files that a bug changes, from the root of the sources, with their contents.
pub type Patched = BTreeMap<PathBuf, String>;

/// Why there is nothing to try.
#[derive(Debug, Error)]
pub enum CatalogueError {
    /// This is not the source tree.
    #[error("there is no {DIRECTORY} here or above: run this in Accord's source tree")]
    NoSources,
    /// Something could not be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
    /// A patch has no story.
    #[error("{name}.patch: the first line is to be `# ` and what goes wrong, in a sentence")]
    NoStory {
        /// The name of the bug.
        name: String,
    },
    /// There is no patch: a net that was tried with nothing has shown nothing.
    #[error("{}: there is no patch in it, so nothing can be tried", path.display())]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// No bug has the name that was asked for.
    #[error("no bug is called {name}; expected one of {}", known.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
}

/// Why a patch does not apply.
#[derive(Debug, Error)]
#[error("{name}.patch does not apply: {what}")]
pub struct ApplyError {
    /// Which patch.
    name: String,
    /// Where, and what was expected.
    what: String,
}

impl Catalogue {
    /// Reads the catalogue of the sources at `root`.
    ///
    /// # Errors
    /// If a patch cannot be read or has no story, or there is none.
    pub fn read(root: &Path) -> Result<Self, CatalogueError> {
        let directory = root.join(DIRECTORY);
        let unreadable = |error| CatalogueError::Unreadable { path: directory.clone(), error };
        let mut bugs = Vec::new();
        for entry in fs::read_dir(&directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|ending| ending == "patch") {
                bugs.push(Bug::read(&path)?);
            }
        }
        if bugs.is_empty() {
            return Err(CatalogueError::Empty { path: directory });
        }
        bugs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { bugs })
    }

    /// The bugs of these names, or all if there are none.
    ///
    /// # Errors
    /// [`CatalogueError::Unknown`].
    pub fn choose(self, names: &[String]) -> Result<Vec<Bug>, CatalogueError> {
        let known = || self.bugs.iter().map(|bug| bug.name.clone()).collect();
        for name in names {
            if !self.bugs.iter().any(|bug| bug.name == *name) {
                return Err(CatalogueError::Unknown { name: name.clone(), known: known() });
            }
        }
        let chosen = |bug: &Bug| names.is_empty() || names.contains(&bug.name);
        Ok(self.bugs.into_iter().filter(chosen).collect())
    }
}

impl Bug {
    fn read(path: &Path) -> Result<Self, CatalogueError> {
        let diff = fs::read_to_string(path)
            .map_err(|error| CatalogueError::Unreadable { path: path.to_owned(), error })?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self::parse(name, diff)
    }

    /// The bug of a patch called `name`.
    ///
    /// # Errors
    /// [`CatalogueError::NoStory`].
    pub fn parse(name: String, diff: String) -> Result<Self, CatalogueError> {
        let head = diff.lines().map_while(|line| line.strip_prefix("# ")).map(str::trim);
        let found_by = head.clone().find_map(|line| line.strip_prefix(FOUND_BY));
        let found_by = found_by.map(|layer| layer.trim().to_owned());
        let story = head.filter(|line| !line.starts_with(FOUND_BY));
        let story = story.collect::<Vec<_>>().join(" ");
        let story = match story.split_once(". ") {
            Some((first, _)) => format!("{first}."),
            None => story,
        };
        if story.is_empty() {
            Err(CatalogueError::NoStory { name })
        } else {
            Ok(Self { name, story, found_by, diff })
        }
    }

    /// The files that the bug changes in the sources at `root`, with the bug in.
    ///
    /// # Errors
    /// If the patch does not apply to them.
    pub fn apply(&self, root: &Path) -> Result<Patched, ApplyError> {
        let mut patched = Patched::new();
        for file in PatchSet::parse(&self.diff, ParseOptions::unidiff()) {
            let file = file.map_err(|error| self.refuse(error.to_string()))?;
            let (path, contents) = self.apply_file(root, &file)?;
            if patched.insert(path.clone(), contents).is_some() {
                return Err(self.refuse(format!("{} stands in it twice", path.display())));
            }
        }
        if patched.is_empty() {
            Err(self.refuse("it changes nothing".to_owned()))
        } else {
            Ok(patched)
        }
    }

    fn apply_file(
        &self,
        root: &Path,
        file: &FilePatch<'_, str>,
    ) -> Result<(PathBuf, String), ApplyError> {
        let operation = file.operation().strip_prefix(STRIPPED);
        let FileOperation::Modify { original, modified } = &operation else {
            return Err(self.refuse("it is to change files, not to add or remove any".to_owned()));
        };
        if original != modified {
            return Err(self.refuse(format!("{original} becomes {modified}")));
        }
        let path = PathBuf::from(original.as_ref());
        let inside = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !inside {
            return Err(self.refuse(format!("{original} is outside the sources")));
        }
        let before = fs::read_to_string(root.join(&path))
            .map_err(|error| self.refuse(format!("{original}: {error}")))?;
        let patch = file.patch().as_text().ok_or_else(|| self.refuse("it is binary".to_owned()))?;
        let after = diffy::apply(&before, patch)
            .map_err(|error| self.refuse(format!("{original}: {error}")))?;
        Ok((path, after))
    }

    fn refuse(&self, what: String) -> ApplyError {
        ApplyError { name: self.name.clone(), what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORY: &str = "# Something goes wrong.\n";

    fn bug(diff: &str) -> Bug {
        Bug::parse("wrong".to_owned(), format!("{STORY}{diff}")).expect("it has a story")
    }

    /// A diff of this module's own beginning.
    fn diff(file: &str, context: &str) -> String {
        format!("--- a/{file}\n+++ b/{file}\n@@ -1,2 +1,3 @@\n {context}\n //!\n+//! Wrong.\n")
    }

    fn root() -> PathBuf {
        crate::tree::workspace().expect("tests run in the source tree")
    }

    const FILE: &str = "sim/bugs/src/catalogue.rs";
    const FIRST: &str =
        "//! The catalogue: what bugs there are, and the sources with one of them in.";

    #[test]
    fn a_patch_is_applied_where_every_line_of_context_is_as_it_says() {
        let head = format!("diff --git a/{FILE} b/{FILE}\nindex 0123456..789abcd 100644\n");
        let with_head = bug(&format!("{head}{}", diff(FILE, FIRST)));
        let patched = bug(&diff(FILE, FIRST)).apply(&root()).expect("it applies");
        assert_eq!(with_head.apply(&root()).expect("git's own lines are passed over"), patched);
        let (path, contents) = patched.first_key_value().expect("one file");
        assert_eq!((path.as_path(), patched.len()), (Path::new(FILE), 1));
        assert!(contents.starts_with(&format!("{FIRST}\n//!\n//! Wrong.\n")));
    }

    #[test]
    fn the_head_of_a_patch_tells_the_story_and_the_layer() {
        let head = "# It is wrong. And more.\n# Found by: tests\n# More.\n--- a\n# Found by: no\n";
        let bug = Bug::parse("wrong".to_owned(), head.to_owned()).expect("it has a story");
        assert_eq!((bug.story.as_str(), bug.found_by.as_deref()), ("It is wrong.", Some("tests")));
    }

    #[test]
    fn what_does_not_apply_is_refused_with_the_patch_the_file_and_the_reason() {
        let cases = [
            (diff(FILE, "//! The catalog."), "error applying hunk #1"),
            (diff("sim/bugs/src/no.rs", FIRST), "sim/bugs/src/no.rs"),
            (diff("../sim/lib.rs", FIRST), "outside the sources"),
            (format!("{0}{0}", diff(FILE, FIRST)), "twice"),
            (String::new(), "wrong.patch does not apply"),
            (format!("--- /dev/null\n+++ b/{FILE}x\n@@ -0,0 +1 @@\n+x\n"), "not to add or remove"),
        ];
        for (diff, expected) in cases {
            let error = bug(&diff).apply(&root()).expect_err(expected).to_string();
            assert!(error.starts_with("wrong.patch") && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_empty_catalogue_is_refused() {
        let root = std::env::temp_dir().join(format!("no-bugs-{}", std::process::id()));
        fs::create_dir_all(root.join(DIRECTORY)).expect("a directory");
        let error = Catalogue::read(&root).expect_err("nothing to try").to_string();
        fs::remove_dir_all(&root).expect("it was made");
        assert!(error.contains("there is no patch in it"), "{error}");
    }

    #[test]
    fn a_patch_without_a_story_and_a_name_that_is_not_there_are_refused() {
        assert!(Bug::parse("mute".to_owned(), diff(FILE, FIRST)).is_err());
        let catalogue = Catalogue::read(&root()).expect("the catalogue can be read");
        let error = catalogue.clone().choose(&["no-such-bug".to_owned()]).expect_err("unknown");
        assert!(error.to_string().contains("ack-before-sync"), "{error}");
        let one = catalogue.choose(&["ack-before-sync".to_owned()]).expect("there it is");
        assert_eq!(one.len(), 1);
    }

    #[test]
    fn every_patch_applies_and_tells_its_story_in_a_sentence() {
        let bugs = Catalogue::read(&root()).and_then(|all| all.choose(&[])).expect("a catalogue");
        assert!(bugs.len() >= 15, "{} bugs", bugs.len());
        for bug in bugs {
            if let Err(error) = bug.apply(&root()) {
                panic!("{error}");
            }
            assert!(
                bug.story.ends_with('.') && bug.story.len() < 200,
                "{}: {}",
                bug.name,
                bug.story
            );
        }
    }
}
