//! The copy of the sources in which a bug is tried, below `target/bugs`.
//!
//! There is one copy and one build directory for all bugs, and a file of the copy is written only
//! if its contents differ, because cargo goes by times: from one bug to the next, only what either
//! changes is built again.

use crate::catalogue::{CatalogueError, Patched};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

/// The packages that make up the simulator, and those that their manifests name.
const PACKAGES: [&str; 5] = ["accord-core", "accord-net", "jepsen", "models", "sim"];
/// The files beside them that a build needs.
const FILES: [&str; 2] = ["Cargo.toml", "Cargo.lock"];
/// The simulator's name, which is that of its package.
const PROGRAM: &str = "accord-sim";
/// What cargo is told if the simulator is to have every world.
const WORLDS: [&str; 2] = ["--features", "worlds"];
/// The lines of a failed build that are shown.
const ERROR_LINES: usize = 12;

/// The root of the sources that the current directory is in.
///
/// # Errors
/// [`CatalogueError::NoSources`].
pub fn workspace() -> Result<PathBuf, CatalogueError> {
    let here = env::current_dir().map_err(|_| CatalogueError::NoSources)?;
    let root = here.ancestors().find(|above| above.join("sim/bugs").is_dir());
    root.map(Path::to_owned).ok_or(CatalogueError::NoSources)
}

/// The copy.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    copy: PathBuf,
    target: PathBuf,
    /// The program that is built, and its package.
    program: &'static str,
    /// The members of the copy's workspace.
    members: Vec<&'static str>,
    /// What cargo is told besides.
    arguments: Vec<&'static str>,
}

impl Tree {
    /// The copy of the sources at `root`, which need not exist yet. Its simulator has the bare
    /// world alone: less is built for each bug.
    pub fn of(root: &Path) -> Self {
        Self::at(root, "bugs", PROGRAM, &PACKAGES, &[])
    }

    /// The same copy, its simulator with the worlds in which whole servers run.
    pub fn with_worlds(root: &Path) -> Self {
        Self::at(root, "bugs", PROGRAM, &PACKAGES, &WORLDS)
    }

    /// The copy below `target/PLACE` in which another program is built, of a package of that name.
    /// `members` are the packages of its workspace, all of them inside those that are copied, and
    /// `arguments` what cargo is told besides.
    pub fn at(
        root: &Path,
        place: &str,
        program: &'static str,
        members: &[&'static str],
        arguments: &[&'static str],
    ) -> Self {
        let below = root.join("target").join(place);
        let (copy, target) = (below.join("copy"), below.join("target"));
        let (members, arguments) = (members.to_vec(), arguments.to_vec());
        Self { root: root.to_owned(), copy, target, program, members, arguments }
    }

    /// Makes the copy equal to the sources, but for what is `patched`.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn sync(&self, patched: &Patched) -> io::Result<()> {
        let mut wanted = BTreeSet::new();
        for package in PACKAGES {
            collect(&self.root, Path::new(package), &mut wanted)?;
        }
        wanted.extend(FILES.map(PathBuf::from));
        let mut present = BTreeSet::new();
        for package in PACKAGES.iter().filter(|package| self.copy.join(package).is_dir()) {
            collect(&self.copy, Path::new(package), &mut present)?;
        }
        for path in present.difference(&wanted) {
            fs::remove_file(self.copy.join(path))?;
        }
        for path in wanted {
            let contents = match patched.get(&path) {
                Some(contents) => contents.clone().into_bytes(),
                None if path == Path::new("Cargo.toml") => self.manifest()?.into_bytes(),
                None => fs::read(self.root.join(&path))?,
            };
            // Cargo drops the packages that are not copied from its lock file, in the copy alone.
            let keep = path == Path::new("Cargo.lock") && self.copy.join(&path).exists();
            if !keep {
                write_if_different(&self.copy.join(&path), &contents)?;
            }
        }
        Ok(())
    }

    /// The workspace's manifest with no member that is not copied.
    fn manifest(&self) -> io::Result<String> {
        let text = fs::read_to_string(self.root.join("Cargo.toml"))?;
        let members = format!("members = {:?}", self.members);
        let from = text.find("members = [").ok_or_else(no_members)?;
        let to = text[from..].find(']').ok_or_else(no_members)? + from + 1;
        Ok(format!("{}{members}{}", &text[..from], &text[to..]))
    }

    /// Cargo, about to be run in the copy.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(arguments)
            .current_dir(&self.copy)
            .env("CARGO_TARGET_DIR", &self.target)
            // Built once for each bug: what is saved in the run is lost in building.
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_INCREMENTAL", "1")
            .env_remove("RUSTFLAGS")
            .stdin(Stdio::null());
        cargo
    }

    /// Builds the copy's program, and gives the path of the program.
    ///
    /// # Errors
    /// What the compiler said, in a few lines.
    pub fn build(&self) -> Result<PathBuf, String> {
        let output = self
            .cargo(&["build", "--release", "--offline", "--quiet", "--package", self.program])
            .args(&self.arguments)
            .output()
            .map_err(|error| format!("cargo cannot be run: {error}"))?;
        if output.status.success() {
            return Ok(self.target.join("release").join(self.program));
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let errors = said.lines().skip_while(|line| !line.starts_with("error"));
        let shown: Vec<&str> = errors.take(ERROR_LINES).collect();
        Err(if shown.is_empty() { said.into_owned() } else { shown.join("\n") })
    }
}

fn no_members() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "Cargo.toml: expected `members = [...]`")
}

/// Adds every file below `root/below`, as its path from `root`.
fn collect(root: &Path, below: &Path, files: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(root, &path, files)?;
        } else {
            files.insert(path);
        }
    }
    Ok(())
}

fn write_if_different(path: &Path, contents: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|present| present == contents) {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, contents)
}
