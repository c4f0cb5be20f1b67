//! The form of a trace, and its language.
//!
//! A trace is a sequence of blocks: one or more commands, a line `----`, the output, and an empty
//! line. Lines that begin with `#` between blocks are the story. Servers are `n1`, `n2`, ...
//!
//! Setting up:
//! - `cluster COUNT [mode=memory] [LIMIT=NUMBER ...]`: that many servers, none started. Limits are
//!   named as in `ReplicaLimits`, without `_max` (`batch_bytes=1`); `initial=COUNT` lets only the
//!   first ones form the cluster; `separate` says that they are of several clusters, whose logs
//!   differ; `looks_later` that an image which has arrived is looked at when `look` says so.
//! - `start NODE... [bootstrap]`: with what is on its disk; `bootstrap` allows it to form a
//!   cluster.
//! - `crash NODE... [keeping=COUNT]`: writes under way are lost but the first COUNT.
//! - `wipe NODE...`: empties the disk of a server that is down.
//! - `lose NODE count=COUNT`: the disk of a server that is down lied: its last records, which it
//!   had said were durable, are gone.
//! - `swap NODE`: exchanges its disk for the one on the shelf, which is blank at first.
//! - `form NODE...`: starts them with `bootstrap`, forms a view of them, and lets them run: the
//!   usual beginning, of which only the end is shown.
//!
//! The group, step by step (see `AdversarialGroup`):
//! - `view NODE... [loss=nothing|ordered|everything|COUNT]`: a view of these forms; those who move
//!   together lose messages of their old view: none, all that none of them was delivered, also
//!   what was not ordered, or all beyond the COUNT first.
//! - `order NODE... [count=COUNT]`: the next message (or more) of each takes its place in the
//!   order.
//! - `deliver NODE... [count=COUNT|all]`: the next event (or more) is delivered to each.
//! - `abandon NODE`: it misses the last view that waits for it.
//! - `pause NODE`, `resume NODE`.
//!
//! The disk and the way between servers:
//! - `stored NODE [count=COUNT|all]`: the oldest write (or more) is durable.
//! - `fail NODE`: the oldest write fails.
//! - `snapshot NODE`: the state that the replica asked for is handed over.
//! - `look NODE`: the last image that arrived whole is read and handed over.
//! - `peer FROM TO [count=COUNT]`, `drop FROM TO`: the messages between two servers beside the
//!   group arrive; are lost.
//! - `advance DURATION`: time passes (`600ms`) and timers fire.
//!
//! What clients and operators do:
//! - `propose NODE COMMAND...`: each word is a command.
//! - `read NODE`: asks for a barrier.
//! - `voters NODE add|remove NODE [store=NUMBER]`: asks for a change of voters.
//! - `recover NODE`: the operator's last resort.
//! - `corrupt NODE`: damages the applied state.
//!
//! Taking many steps, showing only what matters to clients:
//! - `run [NODE...]`: among these (or all that are up) everything is ordered, delivered, stored,
//!   exchanged until nothing is left to do.
//!
//! Looking:
//! - `status NODE...`, `log NODE...`, `state NODE...`, `disk NODE...` (writes under way).

use std::fmt;

/// One command with its arguments.
#[derive(Debug)]
pub struct Command {
    /// Its line in the file, from 1.
    pub line: usize,
    pub name: String,
    /// Arguments without `=`.
    pub words: Vec<String>,
    /// Arguments of the form `key=value`.
    pub options: Vec<(String, String)>,
}

/// Commands and what they led to.
#[derive(Debug)]
pub struct Block {
    /// Comments and empty lines before the commands.
    preamble: String,
    text: String,
    pub commands: Vec<Command>,
    pub output: String,
}

/// A parsed trace.
#[derive(Debug)]
pub struct Script {
    pub blocks: Vec<Block>,
    /// Comments after the last block.
    rest: String,
}

impl Script {
    /// Reads a trace.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line)).peekable();
        let mut blocks = Vec::new();
        loop {
            let mut preamble = String::new();
            while let Some((_, line)) =
                lines.next_if(|(_, line)| line.is_empty() || line.starts_with('#'))
            {
                preamble.push_str(line);
                preamble.push('\n');
            }
            if lines.peek().is_none() {
                return Ok(Self { blocks, rest: preamble });
            }
            let (mut commands, mut text) = (Vec::new(), String::new());
            loop {
                match lines.next() {
                    Some((_, "----")) => break,
                    Some((number, line)) if !line.is_empty() => {
                        text.push_str(line);
                        text.push('\n');
                        commands.push(parse_command(number, line));
                    }
                    _ => {
                        let first = commands.first().map_or(0, |command: &Command| command.line);
                        return Err(format!("{first}: a command without ----"));
                    }
                }
            }
            let mut output = String::new();
            while let Some((_, line)) = lines.next_if(|(_, line)| !line.is_empty()) {
                output.push_str(line);
                output.push('\n');
            }
            blocks.push(Block { preamble, text, commands, output });
        }
    }
}

fn parse_command(line: usize, text: &str) -> Command {
    let mut parts = text.split_whitespace().map(str::to_string);
    let name = parts.next().expect("the line is not empty");
    let (mut words, mut options) = (Vec::new(), Vec::new());
    for part in parts {
        match part.split_once('=') {
            Some((key, value)) => options.push((key.to_string(), value.to_string())),
            None => words.push(part),
        }
    }
    Command { line, name, words, options }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for block in &self.blocks {
            write!(f, "{}{}----\n{}", block.preamble, block.text, block.output)?;
        }
        f.write_str(&self.rest)
    }
}
