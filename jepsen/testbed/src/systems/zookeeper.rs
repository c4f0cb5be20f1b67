//! ZooKeeper: ensembles of JVMs, from Debian's packages or other jars.

use crate::ask::ask;
use crate::process::ProcessError;
use crate::spawn::find;
use crate::system::{Launch, Layout, System};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// Where Debian has the jars.
const JARS: [&str; 2] = ["/usr/share/java/zookeeper.jar", "/usr/share/java/slf4j-simple.jar"];
/// What every server is started with, besides its heap.
const JAVA: [&str; 2] = ["-XX:-UsePerfData", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"];
/// Above the largest value that is written, and the same on every server.
const BUFFER: &str = "-Djute.maxbuffer=8388608";
/// How to have what it needs.
pub const INSTALL: &str = "ZooKeeper is not installed: apt-get install -y zookeeper default-jre-headless (the service \
     need not run)";
/// The exit code of a JVM that was asked to stop.
const TERMINATED: i32 = 143;

/// How ZooKeeper's servers are set up.
#[derive(Debug)]
pub struct ZooKeeper {
    /// The Java program.
    pub java: PathBuf,
    /// The heap of each server, as Java has it. It is fixed, so that none grows while it is
    /// measured.
    pub heap: String,
    /// The class path.
    pub jars: String,
    /// Lines for every server's configuration file.
    pub extra: String,
}

/// True if its programs are installed.
pub fn is_installed() -> bool {
    find("java").is_some() && JARS.iter().all(|jar| Path::new(jar).is_file())
}

impl ZooKeeper {
    /// Servers of Debian's package.
    ///
    /// # Errors
    /// [`ProcessError::Missing`].
    pub fn installed() -> Result<Self, ProcessError> {
        let java = find("java").filter(|_| is_installed());
        let java = java.ok_or_else(|| ProcessError::Missing(INSTALL.to_owned()))?;
        Ok(Self { java, heap: "256m".to_owned(), jars: JARS.join(":"), extra: String::new() })
    }

    fn configuration(&self, layout: &Layout, at: usize) -> String {
        let client = layout.client(at);
        let mut text = format!(
            "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={}\n\
             clientPortAddress={}\nmaxClientCnxns=0\n4lw.commands.whitelist=*\n\
             admin.enableServer=false\n{}",
            self.data(&layout.dir, at).display(),
            client.port(),
            client.ip(),
            self.extra
        );
        if layout.len() > 1 {
            for (other, place) in layout.places.iter().enumerate() {
                let (address, ports) = (place.address, &place.ports);
                let line = format!("server.{}={address}:{}:{}\n", other + 1, ports[1], ports[2]);
                text.push_str(&line);
            }
        }
        text
    }
}

impl System for ZooKeeper {
    fn name(&self) -> &'static str {
        "ZooKeeper"
    }

    fn hint(&self) -> &'static str {
        INSTALL
    }

    fn ports(&self) -> usize {
        3
    }

    fn metrics_port(&self) -> Option<usize> {
        Some(0)
    }

    fn prepare(&self, layout: &Layout, at: usize) -> Result<Launch, ProcessError> {
        let data = self.data(&layout.dir, at);
        std::fs::create_dir_all(&data).map_err(ProcessError::file(&data))?;
        let id = data.join("myid");
        std::fs::write(&id, (at + 1).to_string()).map_err(ProcessError::file(&id))?;
        let configuration = self.configuration(layout, at);
        let file = layout.write(&format!("zoo{}.cfg", at + 1), &configuration)?;
        let mut args = vec![format!("-Xms{}", self.heap), format!("-Xmx{}", self.heap)];
        args.extend(JAVA.map(str::to_owned));
        args.extend([BUFFER.to_owned(), "-cp".to_owned(), self.jars.clone()]);
        if !layout.persistent {
            args.push("-Dzookeeper.forceSync=no".to_owned());
        }
        args.push("org.apache.zookeeper.server.quorum.QuorumPeerMain".to_owned());
        args.push(file.display().to_string());
        let (program, log) = (self.java.clone(), format!("zk{}.log", at + 1));
        Ok(Launch { program, args, first_args: Vec::new(), log, configuration })
    }

    fn data(&self, dir: &Path, at: usize) -> PathBuf {
        dir.join(format!("zk{}", at + 1))
    }

    /// True if every server says in which mode it serves.
    fn is_ready(&self, layout: &Layout) -> bool {
        let serves = |text: String| text.contains("Mode:");
        (0..layout.len()).all(|at| ask(layout.client(at), "srvr").is_some_and(serves))
    }

    fn is_orderly(&self, status: ExitStatus) -> bool {
        status.success() || status.code() == Some(TERMINATED)
    }

    /// Removes all but the newest logs and snapshots: in memory they would fill it.
    fn tidy(&self, dir: &Path) {
        let Ok(servers) = std::fs::read_dir(dir) else { return };
        for server in servers.flatten() {
            ["log.", "snapshot."].iter().for_each(|kind| remove_old(&server.path(), kind));
        }
    }
}

fn remove_old(server: &Path, kind: &str) {
    const KEPT: usize = 3;
    let Ok(files) = std::fs::read_dir(server.join("version-2")) else { return };
    let is_kind = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(kind))
    };
    let mut found: Vec<_> = files.flatten().map(|file| file.path()).filter(is_kind).collect();
    // Their names end in hexadecimal numbers that ascend.
    found.sort_by_key(|path| {
        let number = path.extension().and_then(|number| number.to_str());
        number.and_then(|number| u64::from_str_radix(number, 16).ok())
    });
    for path in &found[..found.len().saturating_sub(KEPT)] {
        // The server may have removed it itself.
        let _ = std::fs::remove_file(path);
    }
}
