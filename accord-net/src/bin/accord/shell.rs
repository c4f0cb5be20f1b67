//! An interactive shell: the client commands, one session, a history.
//!
//! The session lives on a thread of its own, so it goes on while the person at the prompt thinks.
//! Input that is no terminal is read the same way, for scripts.

use crate::client::{self, ClientCommand, Connection, Context, Failure};
use crate::out::{self, complain};
use crate::signals::{Kind, Signals};
use clap::{Args, CommandFactory, Parser, Subcommand};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Editor, Helper};
use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// What a process that is ended by SIGTERM is said to exit with.
const TERMINATED: u8 = 143;
/// And by SIGINT.
const INTERRUPTED: u8 = 130;

/// What `accord shell --help` ends with.
pub const EXAMPLES: &str = "\
Examples:
  accord shell                              commands as on the command line, without `accord`
  accord> put here me --ephemeral           a record that lasts as long as the shell
  accord> txn when exists a; put a 2; get a
  accord> help put
  printf 'put a 1\\nget a\\n' | accord shell   a script, in one session

A script ends at the first command that fails, with its exit code; --keep-going goes on.";

/// An interactive session.
#[derive(Clone, Debug, Args)]
pub struct ShellArgs {
    /// Go on after a command that failed (scripts only).
    #[arg(long)]
    keep_going: bool,
    /// Servers to connect to, and how.
    #[command(flatten)]
    connection: Connection,
}

/// Commands as on the command line, in one session. `help NAME` explains one, with examples.
#[derive(Debug, Parser)]
#[command(name = "", no_binary_name = true, disable_version_flag = true, max_term_width = 100)]
struct Line {
    #[command(subcommand)]
    command: ShellCommand,
}

#[derive(Debug, Subcommand)]
enum ShellCommand {
    #[command(flatten)]
    Client(ClientCommand),
    /// Print the session's number and where it stands.
    Session,
    /// Leave; the session ends, and its ephemeral records with it.
    #[command(visible_alias = "quit")]
    Exit,
}

/// Runs the shell.
pub fn run(args: &ShellArgs) -> u8 {
    let began = Context::new(&args.connection).and_then(|mut context| {
        context.lasting = true;
        let runtime = client::runtime()?;
        let signals = runtime.block_on(async { Signals::new() }).map_err(|error| {
            Failure::failed("failed", format!("signals cannot be received: {error}"))
        })?;
        let (waiting, terminated) = (Arc::default(), false);
        Ok(Shell { context, runtime, signals, waiting, terminated })
    });
    let mut shell = match began {
        Ok(shell) => shell,
        Err(failure) => return failure.tell(args.connection.json),
    };
    let code = match io::stdin().is_terminal() {
        true => shell.converse(),
        false => shell.script(args.keep_going),
    };
    shell.runtime.block_on(shell.context.close());
    code
}

struct Shell {
    context: Context,
    runtime: Runtime,
    signals: Signals,
    /// True while nothing runs, and a signal has nothing to interrupt.
    waiting: Arc<AtomicBool>,
    /// SIGTERM came while a command ran.
    terminated: bool,
}

impl Shell {
    /// Handles SIGTERM while a line is read at the prompt: nothing else does then.
    fn end_on_termination(&self) {
        let waiting = self.waiting.clone();
        self.runtime.spawn(async move {
            let Ok(mut signals) = Signals::new() else { return };
            loop {
                if signals.next().await == Kind::Terminate && waiting.load(Ordering::Relaxed) {
                    std::process::exit(i32::from(TERMINATED));
                }
            }
        });
    }

    fn converse(&mut self) -> u8 {
        self.end_on_termination();
        match self.runtime.block_on(self.context.client()) {
            Ok(client) => {
                out::print_text(&format!(
                    "session {}; `help` shows what there is, Ctrl-D leaves\n",
                    client.session().0
                ));
            }
            Err(failure) => return failure.tell(false),
        }
        let mut editor = match Editor::<Names, FileHistory>::new() {
            Ok(editor) => editor,
            Err(error) => {
                complain(&format!("this terminal cannot be used: {error}"));
                return out::FAILED;
            }
        };
        editor.set_helper(Some(Names::new()));
        let history = history_file();
        if let Some(path) = &history {
            // There is none the first time.
            let _ = editor.load_history(path);
        }
        loop {
            self.waiting.store(true, Ordering::Relaxed);
            let line = editor.readline("accord> ");
            self.waiting.store(false, Ordering::Relaxed);
            match line {
                Ok(line) => {
                    if !line.trim().is_empty() {
                        let _ = editor.add_history_entry(&line);
                    }
                    if self.run_line(&line).is_none() || self.terminated {
                        break;
                    }
                }
                Err(ReadlineError::Interrupted) => drop(out::print_text("Ctrl-D leaves\n")),
                Err(_) => break,
            }
        }
        if let Some(path) = &history
            && let Err(error) = editor.save_history(path)
        {
            complain(&format!("the history is not kept in {}: {error}", path.display()));
        }
        out::DONE
    }

    fn script(&mut self, keep_going: bool) -> u8 {
        let mut lines = match lines_of_input() {
            Ok(lines) => lines,
            Err(error) => {
                complain(&format!("cannot read the standard input: {error}"));
                return out::FAILED;
            }
        };
        let mut code = out::DONE;
        loop {
            let signals = &mut self.signals;
            let next = self.runtime.block_on(async {
                tokio::select! {
                    biased;
                    kind = signals.next() => Err(kind),
                    line = lines.recv() => Ok(line),
                }
            });
            match next {
                Err(Kind::Interrupt) => return INTERRUPTED,
                Err(Kind::Terminate) => return TERMINATED,
                Ok(None) => return code,
                Ok(Some(Err(error))) => {
                    complain(&format!("cannot read the standard input: {error}"));
                    return out::FAILED;
                }
                Ok(Some(Ok(line))) => match self.run_line(&line) {
                    None => return code,
                    Some(_) if self.terminated => return TERMINATED,
                    Some(out::DONE) => {}
                    Some(failed) => {
                        code = failed;
                        if !keep_going {
                            return code;
                        }
                    }
                },
            }
        }
    }

    /// Runs a line. `None`: it says to leave.
    fn run_line(&mut self, line: &str) -> Option<u8> {
        let words = match words(line) {
            Ok(words) if words.is_empty() => return Some(out::DONE),
            Ok(words) => words,
            Err(message) => {
                complain(&message);
                return Some(out::MISUSED);
            }
        };
        match Line::try_parse_from(words).map(|line| line.command) {
            Ok(ShellCommand::Client(command)) => Some(self.run_command(&command)),
            Ok(ShellCommand::Session) => Some(self.show_session()),
            Ok(ShellCommand::Exit) => None,
            Err(error) => {
                // Help is an error of this kind, and goes to the standard output.
                let _ = error.print();
                Some(if error.use_stderr() { out::MISUSED } else { out::DONE })
            }
        }
    }

    fn run_command(&mut self, command: &ClientCommand) -> u8 {
        let connection = command.connection();
        if connection.servers.is_some() || connection.timeout_ms.is_some() {
            complain("--servers and --timeout-ms are for the whole shell: leave, and start it so");
            return out::MISUSED;
        }
        let Self { context, runtime, signals, terminated, .. } = self;
        let code = runtime.block_on(async {
            // What came at the prompt does not concern this command.
            signals.settle();
            if command.takes_signals() {
                return client::execute(command, context).await;
            }
            tokio::select! {
                biased;
                code = client::execute(command, context) => code,
                _ = signals.next() => {
                    complain("interrupted; a change that was under way may still be made");
                    out::UNKNOWN
                }
            }
        });
        // And what the command took for its own end does not concern the next.
        *terminated = runtime.block_on(async { signals.settle() });
        code
    }

    fn show_session(&mut self) -> u8 {
        match self.runtime.block_on(self.context.client()) {
            Ok(client) => {
                let state = format!("{:?}", *client.states().borrow()).to_lowercase();
                out::print_text(&format!("session {}, {state}\n", client.session().0))
            }
            Err(failure) => failure.tell(self.context.json),
        }
    }
}

/// The lines of a script as they come, read by a thread. At most one is read ahead.
fn lines_of_input() -> io::Result<mpsc::Receiver<io::Result<String>>> {
    let (tell, lines) = mpsc::channel(1);
    std::thread::Builder::new().name("script".to_owned()).spawn(move || {
        for line in io::stdin().lock().lines() {
            if tell.blocking_send(line).is_err() {
                return;
            }
        }
    })?;
    Ok(lines)
}

/// The words of a line. A transaction is one word, with quotes and semicolons of its own.
fn words(line: &str) -> Result<Vec<String>, String> {
    let line = line.trim();
    if let Some(text) = line.strip_prefix("txn ").map(str::trim_start)
        && !text.starts_with('-')
    {
        return Ok(vec!["txn".to_owned(), text.to_owned()]);
    }
    if line.starts_with('#') {
        return Ok(Vec::new());
    }
    shlex::split(line).ok_or_else(|| "a quote is not closed".to_owned())
}

/// Where the history is kept: in the user's own directory for such things.
fn history_file() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let state = variable("XDG_STATE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local").join("state")))?;
    let directory = state.join("accord");
    std::fs::create_dir_all(&directory).ok()?;
    Some(directory.join("history"))
}

/// Completes the names of commands, and their flags.
struct Names(clap::Command);

impl Names {
    fn new() -> Self {
        let mut commands = Line::command();
        commands.build();
        Self(commands)
    }

    fn candidates(&self, before: &str) -> Vec<String> {
        let mut words = before.split_whitespace();
        let first = words.next().unwrap_or_default();
        let word = before.rsplit(char::is_whitespace).next().unwrap_or_default();
        let mut names: Vec<String> = if before.trim_start() == word || first == "help" {
            self.0.get_subcommands().map(|command| command.get_name().to_owned()).collect()
        } else {
            let command = self.0.find_subcommand(first);
            let flags = command.into_iter().flat_map(|command| command.get_arguments());
            flags.filter_map(|flag| flag.get_long()).map(|long| format!("--{long}")).collect()
        };
        names.retain(|name| name.starts_with(word) && (name.len() > 2 || !word.is_empty()));
        names.sort();
        names
    }
}

impl Completer for Names {
    type Candidate = String;
    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let before = &line[..position];
        let word = before.rsplit(char::is_whitespace).next().unwrap_or_default();
        let whole = |name: String| format!("{name} ");
        let candidates = self.candidates(before).into_iter().map(whole).collect();
        Ok((position - word.len(), candidates))
    }
}
impl Hinter for Names {
    type Hint = String;
}
impl Highlighter for Names {}
impl Validator for Names {}
impl Helper for Names {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        <Line as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_line_is_taken_apart_as_in_a_shell_and_a_transaction_is_left_whole() {
        for (line, expected) in [
            ("put a 'b c'", &["put", "a", "b c"][..]),
            ("  txn put a 'b c'; get a ", &["txn", "put a 'b c'; get a"]),
            ("txn --file x", &["txn", "--file", "x"]),
            ("# a comment", &[]),
            ("", &[]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        assert!(words("put 'a").is_err());
    }

    #[test]
    fn commands_and_their_flags_are_completed() {
        let names = Names::new();
        assert_eq!(names.candidates("wat"), ["watch"]);
        assert_eq!(names.candidates("help mem"), ["members"]);
        assert_eq!(names.candidates("put a b --app"), ["--append"]);
        assert!(names.candidates("").len() > 10);
    }
}
