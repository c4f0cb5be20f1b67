//! What the commands of a trace do. They are described in [`super`].

use super::clients::World;
use super::cluster::{Cluster, put, request};
use crate::script::{Arguments, Command, duration};
use accord_core::ids::{NodeId, RequestId, Revision, WatchId};
use accord_core::protocol::{ClientMessage, Consistency, EventMask, ReadWatch, WatchFilter};
use accord_core::server::Input;
use accord_core::state::{Flags, ReadQuery, Step, Txn};
use accord_core::time::Duration;
use bytes::Bytes;

type Said = Result<(), String>;

/// Carries out a command; what clients received is in the world's output.
pub fn execute(world: &mut World, command: &Command) -> Said {
    let mut arguments = Arguments::new(command);
    world.output.clear();
    dispatch(world, &command.name, &mut arguments)?;
    world.show_received();
    arguments.finish()
}

fn dispatch(world: &mut World, name: &str, arguments: &mut Arguments) -> Said {
    match name {
        "cluster" => cluster(world, arguments),
        "open" => open(world, arguments),
        "attach" => attach(world, arguments),
        "hangup" => {
            let conn = world.conn(&arguments.word()?)?;
            world.cluster()?.hang_up(conn);
            settle(world)
        }
        "close" => world.tell(&arguments.word()?, ClientMessage::Close),
        "ping" => {
            let client = arguments.word()?;
            let pings = &mut world.client(&client)?.pings;
            *pings += 1;
            let nonce = *pings;
            world.tell(&client, ClientMessage::Ping { nonce })
        }
        "put" | "lock" | "delete" => change(world, name, arguments),
        "again" => again(world, arguments),
        "read" => read(world, arguments),
        "watch" => watch(world, arguments),
        "unwatch" => {
            let client = arguments.word()?;
            let watch = arguments.word()?.parse().map_err(|_| "a watch has a number")?;
            world.tell(&client, ClientMessage::Unwatch { watch: WatchId(watch) })
        }
        "partition" => partition(world, arguments),
        "hold" => {
            world.holding = true;
            Ok(())
        }
        "release" => {
            world.holding = false;
            settle(world)
        }
        "pass" => {
            let span = duration(&arguments.word()?)?;
            pass(world, span)
        }
        _ => Err(format!("unknown command {name}")),
    }
}

/// Delivers what is under way, unless servers hold back.
fn settle(world: &mut World) -> Said {
    if !world.holding {
        world.cluster()?.run();
    }
    Ok(())
}

/// Lets time pass. While servers hold back, timers are late, and fire in the end.
fn pass(world: &mut World, span: Duration) -> Said {
    let holding = world.holding;
    let cluster = world.cluster()?;
    if !holding {
        cluster.pass(span);
        return Ok(());
    }
    cluster.now = cluster.now + span;
    for node in cluster.servers.keys().copied().collect::<Vec<NodeId>>() {
        let deadline = cluster.servers[&node].next_deadline();
        if deadline.is_some_and(|deadline| deadline <= cluster.now) {
            cluster.input(node, Input::Timer);
        }
    }
    Ok(())
}

fn count(world: &mut World) -> Result<u32, String> {
    Ok(world.cluster()?.servers.len() as u32)
}

fn node(world: &mut World, arguments: &mut Arguments) -> Result<NodeId, String> {
    let count = count(world)?;
    arguments.node(count)
}

fn cluster(world: &mut World, arguments: &mut Arguments) -> Said {
    let count: u32 = arguments.word()?.parse().map_err(|_| "the count is not a number")?;
    let history = arguments.number("history_events", 0)? as usize;
    let timeout = arguments.number("timeout_ms", 0)? as u32;
    world.cluster = Some(Cluster::with(count, |config| {
        if history > 0 {
            config.limits.history_events_max = history;
        }
        if timeout > 0 {
            config.state.timeout_ms_max = timeout;
        }
    }));
    Ok(())
}

fn connect(world: &mut World, client: &str, node: NodeId) -> Said {
    let conn = world.cluster()?.connect(node.0);
    world.clients.entry(client.into()).or_default().conns.push(conn);
    Ok(())
}

fn open(world: &mut World, arguments: &mut Arguments) -> Said {
    let client = arguments.word()?;
    let node = node(world, arguments)?;
    let timeout = arguments.option("timeout").unwrap_or_else(|| "3000ms".into());
    let timeout_ms = duration(&timeout)?.as_millis() as u32;
    connect(world, &client, node)?;
    world.tell(&client, ClientMessage::Open { timeout_ms })
}

fn attach(world: &mut World, arguments: &mut Arguments) -> Said {
    let client = arguments.word()?;
    let node = node(world, arguments)?;
    let seen = Revision(arguments.number("seen", 0)?);
    let session = world.client(&client)?.session.ok_or("it has no session")?;
    connect(world, &client, node)?;
    let attach = world.cluster()?.attachment(session, seen);
    world.tell(&client, attach)
}

fn change(world: &mut World, name: &str, arguments: &mut Arguments) -> Said {
    let client = arguments.word()?;
    let key = arguments.word()?;
    let bytes = Bytes::from(key.clone().into_bytes());
    let txn = match name {
        "put" => put(&key, &arguments.word()?),
        "lock" => Txn::of(vec![Step::Write {
            key: bytes,
            value: Bytes::from(client.clone().into_bytes()),
            offset: 0,
            flags: Flags::CREATE.with(Flags::EPHEMERAL),
        }]),
        _ => Txn::of(vec![Step::Delete { key: bytes }]),
    };
    let requests = &mut world.client(&client)?.requests;
    let message = request(requests.len() as u64 + 1, &txn);
    requests.push(message.clone());
    world.tell(&client, message)
}

fn again(world: &mut World, arguments: &mut Arguments) -> Said {
    let client = arguments.word()?;
    let number: usize = arguments.word()?.parse().map_err(|_| "a request has a number")?;
    let requests = &world.client(&client)?.requests;
    let message = requests.get(number.wrapping_sub(1)).cloned();
    world.tell(&client, message.ok_or("it made no such request")?)
}

fn read(world: &mut World, arguments: &mut Arguments) -> Said {
    let consistency = match arguments.flag("local") {
        true => Consistency::Local,
        false => Consistency::Linearizable,
    };
    let after = arguments.option("after").map(|after| after.parse().map(RequestId));
    let after = after.transpose().map_err(|_| "after=NUMBER is a number")?;
    let watches = arguments.flag("watch").then_some(false);
    let watches = if arguments.flag("once") { Some(true) } else { watches };
    let client = arguments.word()?;
    let key = Bytes::from(arguments.word()?.into_bytes());
    let filter = WatchFilter::Key(key.clone());
    let query = ReadQuery::Get { key, offset: 0, length_max: 1000 };
    let me = world.client(&client)?;
    me.reads += 1;
    let read = me.reads;
    let watch = watches.map(|once| {
        me.watches += 1;
        Box::new(ReadWatch { watch: WatchId(me.watches), filter, mask: EventMask::ALL, once })
    });
    world.tell(&client, ClientMessage::Read { read, consistency, after, watch, query })
}

fn watch(world: &mut World, arguments: &mut Arguments) -> Said {
    let once = arguments.flag("once");
    let from = arguments.option("from").map(|from| from.parse().map(Revision));
    let from = from.transpose().map_err(|_| "from=REVISION is a number")?;
    let client = arguments.word()?;
    let filter = match arguments.word()?.as_str() {
        "members" => WatchFilter::Members,
        key => WatchFilter::Key(Bytes::copy_from_slice(key.as_bytes())),
    };
    let watches = &mut world.client(&client)?.watches;
    *watches += 1;
    let watch = WatchId(*watches);
    world.tell(&client, ClientMessage::Watch { watch, filter, mask: EventMask::ALL, once, from })
}

fn partition(world: &mut World, arguments: &mut Arguments) -> Said {
    let mut components: Vec<Vec<u32>> = vec![Vec::new()];
    let count = count(world)?;
    while !arguments.words.is_empty() {
        if arguments.words.last().is_some_and(|word| word == "|") {
            arguments.word()?;
            components.push(Vec::new());
        } else {
            let node = arguments.node(count)?;
            components.last_mut().expect("there is one").push(node.0);
        }
    }
    let components: Vec<&[u32]> = components.iter().map(Vec::as_slice).collect();
    let holding = world.holding;
    let cluster = world.cluster()?;
    match holding {
        true => cluster.partition_quietly(&components),
        false => cluster.partition(&components),
    }
    Ok(())
}
