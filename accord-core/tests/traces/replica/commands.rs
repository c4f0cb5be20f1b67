//! What the commands of a trace do. They are described in [`super`].

use super::show;
use super::world::World;
use crate::script::{Arguments, Command, duration};
use accord_core::group::adversary::Loss;
use accord_core::ids::{NodeId, StoreId};
use accord_core::replica::config::{Durability, ReplicaConfig, ReplicaLimits};
use accord_core::replica::voters::VoterChange;
use std::collections::BTreeSet;

/// More rounds than this mean that a `run` does not come to rest.
const ROUNDS_MAX: usize = 1000;

type Said = Result<(), String>;

/// Carries out a command; what was said is in the world's output.
pub fn execute(world: &mut World, command: &Command) -> Result<(), String> {
    let mut arguments = Arguments::new(command);
    world.output.clear();
    world.brief = false;
    dispatch(world, &command.name, &mut arguments)?;
    arguments.finish()
}

fn dispatch(world: &mut World, name: &str, arguments: &mut Arguments) -> Said {
    match name {
        "cluster" => cluster(world, arguments),
        "start" => start(world, arguments),
        "crash" => crash(world, arguments),
        "wipe" => arguments.nodes(world.count())?.into_iter().try_for_each(|node| {
            world.wipe(node);
            Ok(())
        }),
        "lose" => lose(world, arguments),
        "swap" => arguments.node(world.count()).map(|node| world.swap(node)),
        "form" => form(world, arguments),
        "view" => view(world, arguments),
        "order" => repeat(world, arguments, |world, node| Ok(world.group().order(node))),
        "deliver" => repeat(world, arguments, World::deliver),
        "stored" => repeat(world, arguments, World::stored),
        "snapshot" => repeat(world, arguments, World::snapshot),
        "look" => repeat(world, arguments, World::look),
        "abandon" => repeat(world, arguments, |world, node| Ok(world.group().abandon(node))),
        "pause" => arguments.nodes(world.count()).map(|nodes| world.group().pause(nodes[0])),
        "resume" => arguments.nodes(world.count()).map(|nodes| world.group().resume(nodes[0])),
        "fail" => fail(world, arguments),
        "peer" => peer(world, arguments),
        "drop" => drop_peer(world, arguments),
        "advance" => advance(world, arguments),
        "propose" => propose(world, arguments),
        "read" => read(world, arguments),
        "voters" => voters(world, arguments),
        "recover" => recover(world, arguments),
        "corrupt" => corrupt(world, arguments),
        "run" => run(world, arguments),
        "status" | "log" | "state" | "disk" => look(world, name, arguments),
        _ => Err(format!("unknown command {name}")),
    }
}

fn cluster(world: &mut World, arguments: &mut Arguments) -> Said {
    world.separate = arguments.flag("separate");
    world.looks_later = arguments.flag("looks_later");
    let count: u32 = arguments.word()?.parse().map_err(|_| "the count is not a number")?;
    let initial = arguments.number("initial", u64::from(count))? as u32;
    let durability = match arguments.option("mode").as_deref() {
        None => Durability::Persistent,
        Some("memory") => Durability::Memory,
        Some(other) => return Err(format!("unknown mode {other}")),
    };
    // No time passes in a trace, so nothing is paced by it.
    let transfer_bytes_per_second_max = u64::MAX;
    let mut limits = ReplicaLimits { transfer_bytes_per_second_max, ..ReplicaLimits::default() };
    for (key, value) in std::mem::take(&mut arguments.options) {
        let number: usize = value.parse().map_err(|_| format!("{key}={value} is not a number"))?;
        match key.as_str() {
            "batch_bytes" => limits.batch_bytes_max = number,
            "frames_in_flight" => limits.frames_in_flight_max = number,
            "live_bytes" => limits.live_bytes_max = number,
            "chunk_bytes" => limits.chunk_bytes_max = number,
            "log_bytes_retained" => limits.log_bytes_retained = number,
            "checkpoint_bytes" => limits.checkpoint_bytes = number,
            "proposals_bytes" => limits.proposals_bytes_max = number,
            "digest_interval" => limits.digest_interval = number as u64,
            _ => return Err(format!("unknown limit {key}")),
        }
    }
    let initial: BTreeSet<NodeId> = (1..=initial).map(NodeId).collect();
    let config = |node| ReplicaConfig {
        node: NodeId(node),
        initial: initial.clone(),
        durability,
        limits: limits.clone(),
    };
    world.create((1..=count).map(config).collect());
    Ok(())
}

fn start(world: &mut World, arguments: &mut Arguments) -> Said {
    let bootstrap = arguments.flag("bootstrap");
    arguments.nodes(world.count())?.into_iter().try_for_each(|node| world.start(node, bootstrap))
}

fn crash(world: &mut World, arguments: &mut Arguments) -> Said {
    let keeping = arguments.number("keeping", 0)? as usize;
    for node in arguments.nodes(world.count())? {
        world.crash(node, keeping);
    }
    Ok(())
}

fn form(world: &mut World, arguments: &mut Arguments) -> Said {
    let nodes = arguments.nodes(world.count())?;
    world.brief = true;
    nodes.iter().try_for_each(|node| world.start(*node, true))?;
    world.group().form_views(std::slice::from_ref(&nodes));
    settle(world, &nodes)?;
    world.output.clear();
    look_at(world, "status", &nodes)
}

fn view(world: &mut World, arguments: &mut Arguments) -> Said {
    let loss = match arguments.option("loss").as_deref() {
        None | Some("nothing") => Loss::Nothing,
        Some("ordered") => Loss::Ordered,
        Some("everything") => Loss::Everything,
        Some(count) => match count.parse() {
            Ok(count) => Loss::Beyond(count),
            Err(_) => return Err(format!("unknown loss {count}")),
        },
    };
    let mut nodes = arguments.nodes(world.count())?;
    nodes.sort_unstable();
    if !world.group().can_form(&nodes) {
        return Err("a member is down or has too many views waiting".into());
    }
    world.group().form_view(&nodes, nodes[0], loss);
    Ok(())
}

/// Does a step once, `count` times, or as often as possible, for each server.
fn repeat(
    world: &mut World,
    arguments: &mut Arguments,
    step: impl Fn(&mut World, NodeId) -> Result<bool, String>,
) -> Said {
    let all = arguments.flag("all");
    let count = arguments.number("count", 1)?;
    for node in arguments.nodes(world.count())? {
        let mut done = 0;
        while (all || done < count) && step(world, node)? {
            done += 1;
        }
        if done < count && !all {
            return Err(format!("{node} has nothing left after {done}"));
        }
    }
    Ok(())
}

fn fail(world: &mut World, arguments: &mut Arguments) -> Said {
    let node = arguments.node(world.count())?;
    let failed = world.server(node).writing.pop_front();
    failed.ok_or("nothing is being written")?;
    world.with(node, |replica, _| replica.handle_store_failed())
}

fn peer(world: &mut World, arguments: &mut Arguments) -> Said {
    let count = arguments.number("count", 1)?;
    let (from, to) = (arguments.node(world.count())?, arguments.node(world.count())?);
    for _ in 0..count {
        if !world.peer(from, to)? {
            return Err(format!("there is no message from {from} to {to}"));
        }
    }
    Ok(())
}

fn drop_peer(world: &mut World, arguments: &mut Arguments) -> Said {
    let (from, to) = (arguments.node(world.count())?, arguments.node(world.count())?);
    match world.peers.remove(&(from, to)) {
        Some(messages) if !messages.is_empty() => Ok(()),
        _ => Err(format!("there is no message from {from} to {to}")),
    }
}

fn advance(world: &mut World, arguments: &mut Arguments) -> Said {
    let word = arguments.word()?;
    world.now = world.now + duration(&word)?;
    let nodes: Vec<NodeId> = world.servers.keys().copied().collect();
    for node in nodes {
        let replica = world.server(node).replica.as_ref();
        let deadline = replica.and_then(|replica| replica.next_deadline());
        if deadline.is_some_and(|deadline| deadline <= world.now) {
            world.note(&format!("{node} <- timer"));
            world.with(node, |replica, now| replica.handle_timer(now))?;
        }
    }
    Ok(())
}

fn propose(world: &mut World, arguments: &mut Arguments) -> Said {
    let node = arguments.node(world.count())?;
    while let Ok(word) = arguments.word() {
        if let Err(error) = world.with(node, |replica, _| replica.propose(word.as_bytes()))? {
            world.say(&format!("{node}: {word} refused: {error}"));
        }
    }
    Ok(())
}

fn read(world: &mut World, arguments: &mut Arguments) -> Said {
    let node = arguments.node(world.count())?;
    let id = world.with(node, |replica, _| replica.read_barrier())?;
    world.say(&format!("{node}: read {} waits", id.0));
    Ok(())
}

fn voters(world: &mut World, arguments: &mut Arguments) -> Said {
    let node = arguments.node(world.count())?;
    let kind = arguments.word()?;
    let target = arguments.node(world.count())?;
    let store = StoreId(arguments.number("store", world.server(target).store().0)?);
    let change = match kind.as_str() {
        "add" => VoterChange::Add { node: target, store },
        "remove" => VoterChange::Remove { node: target, store, returning: false },
        _ => return Err(format!("unknown change {kind}")),
    };
    let asked = world.with(node, |replica, _| replica.change_voters(7, change))?;
    if let Err(error) = asked {
        world.say(&format!("{node}: refused: {error}"));
    }
    Ok(())
}

fn lose(world: &mut World, arguments: &mut Arguments) -> Said {
    let node = arguments.node(world.count())?;
    let count = arguments.number("count", 1)?;
    world.lose(node, count as usize);
    Ok(())
}

fn recover(world: &mut World, arguments: &mut Arguments) -> Said {
    let node = arguments.node(world.count())?;
    if let Err(error) = world.with(node, |replica, _| replica.force_recovery())? {
        world.say(&format!("{node}: refused: {error}"));
    }
    Ok(())
}

fn corrupt(world: &mut World, arguments: &mut Arguments) -> Said {
    let node = arguments.node(world.count())?;
    world.server(node).applied.push("damage".into());
    Ok(())
}

fn run(world: &mut World, arguments: &mut Arguments) -> Said {
    let nodes = if arguments.words.is_empty() {
        let up = world.servers.iter().filter(|(_, server)| server.replica.is_some());
        up.map(|(node, _)| *node).collect()
    } else {
        arguments.nodes(world.count())?
    };
    world.brief = true;
    settle(world, &nodes)
}

/// Does everything that there is to do among these servers.
fn settle(world: &mut World, nodes: &[NodeId]) -> Said {
    for _ in 0..ROUNDS_MAX {
        let mut busy = false;
        for node in nodes {
            busy |= world.group().order(*node);
            busy |= world.deliver(*node)?;
            busy |= world.stored(*node)?;
            busy |= world.snapshot(*node)?;
            for from in nodes {
                busy |= world.peer(*from, *node)?;
            }
        }
        if !busy {
            return Ok(());
        }
    }
    Err("the servers do not come to rest".into())
}

fn look(world: &mut World, name: &str, arguments: &mut Arguments) -> Said {
    let nodes = arguments.nodes(world.count())?;
    look_at(world, name, &nodes)
}

fn look_at(world: &mut World, name: &str, nodes: &[NodeId]) -> Said {
    for node in nodes {
        let server = world.server(*node);
        let line = match (name, &server.replica) {
            ("disk", _) => {
                let writing = server.writing.iter();
                let writing =
                    writing.map(|(ticket, record)| format!("({ticket} {})", show::record(record)));
                format!("{node}: writing {}", show::list(writing))
            }
            (_, None) => format!("{node}: down"),
            ("status", Some(replica)) => show::status(*node, &replica.status()),
            ("log", Some(replica)) => {
                let first = replica.status().log_start;
                let mut lines = vec![format!("{node}: log")];
                let mut index = first;
                while let Some(entry) = replica.log().get(index) {
                    lines.push(format!("  {}", show::entry(entry)));
                    index = index.next();
                }
                lines.join("\n")
            }
            (_, Some(_)) => format!("{node}: state {}", show::list(&server.applied)),
        };
        world.say(&line);
    }
    Ok(())
}
