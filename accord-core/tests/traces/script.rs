//! The form of a trace, shared by all languages: blocks, and the arguments of commands.
//!
//! A trace is a sequence of blocks: one or more commands, a line `----`, the output, and an empty
//! line. Lines that begin with `#` between blocks are the story. Servers are `n1`, `n2`, ...
//! What the commands are is documented at each language: `replica`, `ring`, `gateway`.

use accord_core::ids::NodeId;
use accord_core::time::Duration;
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

/// The arguments of a command that were not used yet.
pub struct Arguments {
    pub words: Vec<String>,
    pub options: Vec<(String, String)>,
}

impl Arguments {
    pub fn new(command: &Command) -> Self {
        let mut words = command.words.clone();
        words.reverse();
        Self { words, options: command.options.clone() }
    }

    pub fn word(&mut self) -> Result<String, String> {
        self.words.pop().ok_or_else(|| "an argument is missing".into())
    }

    pub fn flag(&mut self, name: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|word| word != name);
        self.words.len() < before
    }

    pub fn option(&mut self, key: &str) -> Option<String> {
        let at = self.options.iter().position(|(name, _)| name == key)?;
        Some(self.options.remove(at).1)
    }

    pub fn number(&mut self, key: &str, default: u64) -> Result<u64, String> {
        match self.option(key) {
            None => Ok(default),
            Some(value) => value.parse().map_err(|_| format!("{key}={value} is not a number")),
        }
    }

    /// A server, of those from 1 to `count`.
    pub fn node(&mut self, count: u32) -> Result<NodeId, String> {
        let word = self.word()?;
        let number = word.strip_prefix('n').and_then(|digits| digits.parse().ok());
        match number.map(NodeId) {
            Some(node) if (1..=count).contains(&node.0) => Ok(node),
            _ => Err(format!("there is no server {word}")),
        }
    }

    /// All servers at the front of the words, at least one.
    pub fn nodes(&mut self, count: u32) -> Result<Vec<NodeId>, String> {
        let mut nodes = vec![self.node(count)?];
        while self.words.last().is_some_and(|word| word.starts_with('n')) {
            nodes.push(self.node(count)?);
        }
        Ok(nodes)
    }

    pub fn finish(self) -> Result<(), String> {
        let option = self.options.first().map(|(key, value)| format!("{key}={value}"));
        match self.words.last().cloned().or(option) {
            None => Ok(()),
            Some(argument) => Err(format!("unexpected argument {argument}")),
        }
    }
}

/// A duration such as `600ms`.
pub fn duration(word: &str) -> Result<Duration, String> {
    let millis = word.strip_suffix("ms").and_then(|digits| digits.parse().ok());
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{word} is not a duration such as 600ms"))
}
