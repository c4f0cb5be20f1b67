//! What the commands of a trace do. They are described in [`super`].

use super::world::{World, view};
use crate::script::{Arguments, Command, duration};
use accord_core::group::Standing;
use accord_core::group::ring::RingLimits;
use accord_core::ids::{Epoch, Index, LogPosition, NodeId};
use accord_core::time::Duration;
use bytes::Bytes;

type Said = Result<(), String>;

/// How long members may take to form a ring.
const FORM_MAX: Duration = Duration::from_secs(5);

/// Carries out a command; what was said is in the world's output.
pub fn execute(world: &mut World, command: &Command) -> Said {
    let mut arguments = Arguments::new(command);
    world.output.clear();
    (world.brief, world.showing) = (false, None);
    dispatch(world, &command.name, &mut arguments)?;
    arguments.finish()
}

fn dispatch(world: &mut World, name: &str, arguments: &mut Arguments) -> Said {
    match name {
        "members" => members(world, arguments),
        "start" => arguments.nodes(world.count())?.into_iter().try_for_each(|n| world.start(n)),
        "form" => form(world, arguments),
        "submit" => submit(world, arguments),
        "crash" => arguments.nodes(world.count())?.into_iter().try_for_each(|node| {
            world.crash(node);
            Ok(())
        }),
        "leave" => leave(world, arguments),
        "vote" => vote(world, arguments),
        "way" => way(world, arguments),
        "receive" => receive(world, arguments),
        "lose" => lose(world, arguments),
        "advance" => {
            let span = duration(&arguments.word()?)?;
            world.pass(span, false)
        }
        "cut" => cut(world, arguments, true),
        "oneway" => cut(world, arguments, false),
        "heal" => {
            world.cut.clear();
            Ok(())
        }
        "run" => {
            let span = duration(&arguments.word()?)?;
            (world.brief, world.showing) = (true, arguments.option("showing"));
            world.pass(span, true)
        }
        "status" => status(world, arguments),
        _ => Err(format!("unknown command {name}")),
    }
}

fn members(world: &mut World, arguments: &mut Arguments) -> Said {
    let count: u32 = arguments.word()?.parse().map_err(|_| "the count is not a number")?;
    let mut limits = RingLimits::default();
    for (key, value) in std::mem::take(&mut arguments.options) {
        let number: usize = value.parse().map_err(|_| format!("{key}={value} is not a number"))?;
        match key.as_str() {
            "datagram_bytes" => limits.datagram_bytes_max = number,
            "pending_messages" => limits.pending_messages_max = number,
            "burst_packets" => limits.burst_packets_max = number as u32,
            "accelerated_packets" => limits.accelerated_packets = number as u32,
            "window_packets" => limits.window_packets_max = number as u32,
            _ => return Err(format!("unknown limit {key}")),
        }
    }
    world.create(count, limits);
    Ok(())
}

fn form(world: &mut World, arguments: &mut Arguments) -> Said {
    let nodes = arguments.nodes(world.count())?;
    world.brief = true;
    nodes.iter().try_for_each(|node| world.start(*node))?;
    let end = world.now + FORM_MAX;
    while !world.is_settled(&nodes) {
        if world.now >= end {
            return Err("they form no ring".into());
        }
        world.pass(Duration::from_millis(1), true)?;
    }
    world.output.clear();
    nodes.iter().try_for_each(|node| show_status(world, *node))
}

fn submit(world: &mut World, arguments: &mut Arguments) -> Said {
    let bytes = arguments.number("bytes", 0)? as usize;
    let node = arguments.node(world.count())?;
    while let Ok(word) = arguments.word() {
        let mut payload = word.into_bytes();
        payload.resize(payload.len().max(bytes), b'.');
        world.submit(node, Bytes::from(payload))?;
    }
    Ok(())
}

fn leave(world: &mut World, arguments: &mut Arguments) -> Said {
    let node = arguments.node(world.count())?;
    world.with(node, |ring, now| ring.leave(now))?;
    world.crash(node);
    Ok(())
}

fn vote(world: &mut World, arguments: &mut Arguments) -> Said {
    let nodes = arguments.nodes(world.count())?;
    let known_at = LogPosition { epoch: Epoch(1), index: Index(1) };
    for node in &nodes {
        let standing = Standing { known_at, voters: nodes.clone(), votes: true };
        world.with(*node, |ring, now| ring.set_standing(now, standing))?;
    }
    Ok(())
}

fn way(world: &mut World, arguments: &mut Arguments) -> Said {
    let to = match arguments.words.is_empty() {
        true => world.nodes(),
        false => arguments.nodes(world.count())?,
    };
    let found = world.way.iter().filter(|datagram| to.contains(&datagram.to));
    let line = |d: &super::world::Datagram| format!("{} -> {}: {}", d.from, d.to, d.says());
    let lines: Vec<String> = found.map(line).collect();
    lines.iter().for_each(|line| world.say(line));
    Ok(())
}

/// Where the oldest datagram stands that is on its way to `to`, of these.
fn oldest(
    world: &World,
    to: NodeId,
    from: Option<&str>,
    kind: Option<&str>,
) -> Result<usize, String> {
    let fits = |datagram: &super::world::Datagram| {
        let says = datagram.says();
        datagram.to == to
            && from.is_none_or(|from| datagram.from.to_string() == from)
            && kind.is_none_or(|kind| says.starts_with(kind))
    };
    world.way.iter().position(fits).ok_or_else(|| format!("nothing like it is on its way to {to}"))
}

fn receive(world: &mut World, arguments: &mut Arguments) -> Said {
    let (from, kind) = (arguments.option("from"), arguments.option("kind"));
    let all = arguments.flag("all");
    let count = arguments.number("count", 1)?;
    for to in arguments.nodes(world.count())? {
        let mut done = 0;
        while all || done < count {
            match oldest(world, to, from.as_deref(), kind.as_deref()) {
                Ok(at) => world.arrive(at)?,
                Err(_) if all => break,
                Err(error) => return Err(error),
            }
            done += 1;
        }
    }
    Ok(())
}

fn lose(world: &mut World, arguments: &mut Arguments) -> Said {
    let (from, kind) = (arguments.option("from"), arguments.option("kind"));
    let all = arguments.flag("all");
    for to in arguments.nodes(world.count())? {
        let mut at = oldest(world, to, from.as_deref(), kind.as_deref());
        if !all {
            at.clone()?;
        }
        while let Ok(place) = at {
            let lost = world.way.remove(place).expect("just found");
            let line = format!("lost: {} -> {}: {}", lost.from, lost.to, lost.says());
            world.say(&line);
            at = match all {
                true => oldest(world, to, from.as_deref(), kind.as_deref()),
                false => Err(String::new()),
            };
        }
    }
    Ok(())
}

fn cut(world: &mut World, arguments: &mut Arguments, both: bool) -> Said {
    let (a, b) = (arguments.node(world.count())?, arguments.node(world.count())?);
    world.cut.insert((a, b));
    if both {
        world.cut.insert((b, a));
    }
    Ok(())
}

fn status(world: &mut World, arguments: &mut Arguments) -> Said {
    arguments.nodes(world.count())?.into_iter().try_for_each(|node| show_status(world, node))
}

fn show_status(world: &mut World, node: NodeId) -> Said {
    let line = match &world.members[&node].ring {
        None => format!("{node}: down"),
        Some(ring) => {
            let it = ring.status();
            let mut line = format!("{node}: {:?} {}", it.stage, view(&it.view));
            line += &format!(" delivered={}", it.counters.messages_delivered);
            for (name, number) in [
                ("pending", it.pending_messages as u64),
                ("stored", it.stored_packets),
                ("resent", it.counters.packets_resent),
                ("recovered", it.counters.packets_recovered),
                ("token-losses", it.counters.token_losses),
            ] {
                if number > 0 {
                    line += &format!(" {name}={number}");
                }
            }
            line
        }
    };
    world.say(&line);
    Ok(())
}
