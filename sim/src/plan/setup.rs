//! From a world's options to the configurations of its machines.
//!
//! Bounds of one scale are still drawn one by one, so that their proportions vary from world to
//! world; they are a function of the seed, so every server of a world has the same, as the core
//! demands.

use crate::plan::options::{Group, Options, Scale};
use crate::plan::rng::{Concern, Rng};
use accord_core::group::adversary::AdversaryLimits;
use accord_core::group::ring::{RingConfig, RingLimits, RingTimeouts};
use accord_core::holder::SecretKey;
use accord_core::ids::NodeId;
use accord_core::limits::Limits;
use accord_core::replica::config::{ReplicaConfig, ReplicaLimits};
use accord_core::server::{ServerConfig, ServerLimits};
use accord_core::time::{Duration, DurationExt};

/// Numbers the draws that decide bounds, apart from those that decide shapes.
const LIMITS_STREAM: u64 = 1;

fn rng(options: &Options, offset: u64) -> Rng {
    Rng::of(options.seed, Concern::Options, LIMITS_STREAM + offset)
}

/// The key of the secrets of server `node`. A start of it makes the same secrets as the one before,
/// so that a run is a function of its seed: nobody here guesses.
fn secrets(options: &Options, node: u32) -> SecretKey {
    let mut bytes = [node as u8; 32];
    bytes[..8].copy_from_slice(&options.seed.to_le_bytes());
    SecretKey::new(bytes)
}

/// The configuration of server `node`.
pub fn server_config(options: &Options, node: u32) -> ServerConfig {
    let config = ServerConfig {
        replica: ReplicaConfig {
            node: NodeId(node),
            initial: (1..=options.servers).map(NodeId).collect(),
            durability: options.mode,
            limits: replica_limits(options),
        },
        state: state_limits(options),
        limits: server_limits(options),
        secrets: secrets(options, node),
    };
    config.replica.limits.check();
    config.state.check();
    config.limits.check();
    config
}

/// The bounds of the replicated state.
pub fn state_limits(options: &Options) -> Limits {
    // Each client may leave a session behind that lives until it expires.
    let sessions_max = options.clients * 2 + 2;
    match options.limits {
        Scale::Roomy => Limits::default(),
        Scale::Small => Limits {
            key_bytes_max: 64,
            value_bytes_max: 4096,
            store_bytes_max: 64 << 10,
            command_bytes_max: 8192,
            steps_max: 64,
            result_bytes_max: 16 << 10,
            page_entries_max: 64,
            page_bytes_max: 4096,
            sessions_max: sessions_max * 4,
            ephemerals_max: 16,
            outcomes_max: 64,
            outcome_bytes_max: 16 << 10,
            ..Limits::default()
        },
        Scale::Tiny => Limits {
            key_bytes_max: 32,
            value_bytes_max: 512,
            store_bytes_max: 4096,
            command_bytes_max: 1024,
            steps_max: 16,
            result_bytes_max: 1024,
            page_entries_max: 4,
            page_bytes_max: 256,
            sessions_max,
            ephemerals_max: 4,
            outcomes_max: 4,
            outcome_bytes_max: 2048,
            // Many a client is granted less than it wishes for.
            timeout_ms_max: 2000,
            ..Limits::default()
        },
    }
}

fn replica_limits(options: &Options) -> ReplicaLimits {
    let rng = &mut rng(options, 0);
    let command_bytes_max = state_limits(options).command_bytes_max as usize + 64;
    let drawn = ReplicaLimits {
        batch_bytes_max: rng.log_uniform(1, 1024) as usize,
        command_bytes_max,
        frames_in_flight_max: rng.within(1, 4) as usize,
        proposals_bytes_max: command_bytes_max + rng.log_uniform(16, 8192) as usize,
        live_bytes_max: rng.log_uniform(1, 8192) as usize,
        chunk_bytes_max: rng.log_uniform(16, 4096) as usize,
        snapshot_bytes_max: 1 << 30,
        log_bytes_retained: rng.log_uniform(64, 16_384) as usize,
        checkpoint_bytes: rng.log_uniform(256, 16_384) as usize,
        digest_interval: rng.log_uniform(1, 64),
        transfer_timeout: Duration::from_millis(rng.log_uniform(100, 1000)),
        apply_bytes_max: rng.log_uniform(1, 64 << 10) as usize,
        transfer_bytes_per_second_max: rng.log_uniform(64 << 10, 64 << 20),
    };
    match options.limits {
        Scale::Tiny => drawn,
        Scale::Small => ReplicaLimits {
            batch_bytes_max: 4096,
            chunk_bytes_max: 4096,
            live_bytes_max: 64 << 10,
            proposals_bytes_max: 64 << 10,
            log_bytes_retained: 64 << 10,
            checkpoint_bytes: 64 << 10,
            ..drawn
        },
        Scale::Roomy => ReplicaLimits { digest_interval: 64, ..ReplicaLimits::default() },
    }
}

fn server_limits(options: &Options) -> ServerLimits {
    let rng = &mut rng(options, 1);
    let drawn = ServerLimits {
        conns_max: options.clients as usize * 3 + 2,
        requests_per_conn_max: rng.within(1, 8) as usize,
        request_bytes_per_conn_max: rng.log_uniform(64, 4096) as usize,
        reads_per_conn_max: rng.within(1, 8) as usize,
        watches_per_conn_max: rng.within(2, 8) as usize,
        unsent_bytes_max: rng.log_uniform(8 << 10, 64 << 10) as usize,
        deferred_max: rng.log_uniform(4, 64) as usize,
        deferred_bytes_max: rng.log_uniform(2048, 16 << 10) as usize,
        history_events_max: rng.log_uniform(1, 256) as usize,
        history_bytes_max: rng.log_uniform(256, 64 << 10) as usize,
        read_wait_max: Duration::from_millis(rng.log_uniform(200, 5000)),
        pause_max: Duration::from_millis(rng.log_uniform(100, 2000)),
    };
    // Else no read is ever answered on a slow network, and the core is right to refuse it.
    let patient = drawn.read_wait_max.max(answer_span(options));
    let drawn = ServerLimits { read_wait_max: patient, ..drawn };
    match options.limits {
        Scale::Tiny => drawn,
        Scale::Small => ServerLimits {
            requests_per_conn_max: 64,
            request_bytes_per_conn_max: 64 << 10,
            reads_per_conn_max: 64,
            watches_per_conn_max: 64,
            unsent_bytes_max: 1 << 20,
            ..drawn
        },
        Scale::Roomy => {
            let roomy = ServerLimits::default();
            ServerLimits { read_wait_max: roomy.read_wait_max.max(patient), ..roomy }
        }
    }
}

/// Rotations of the token within which a calm world answers, tiny bounds or not: the frame that
/// carries the barrier or the command waits behind one that travels in fragments, a few in each
/// rotation.
const ROUNDS_OF_AN_ANSWER: u64 = 24;

/// Within this span a calm world answers a read or a request. Who gives up sooner never gets one.
pub fn answer_span(options: &Options) -> Duration {
    round(options).times(ROUNDS_OF_AN_ANSWER)
}

/// The longest rotation of the token around all servers while nothing goes wrong.
fn round(options: &Options) -> Duration {
    options.delay_max.times(u64::from(options.nodes()) + 1)
}

/// The configuration of the ring member on server `node`.
///
/// # Panics
/// If the bounds drawn contradict each other, which is a fault of this function.
pub fn ring_config(options: &Options, node: u32) -> RingConfig {
    let peers = (1..=options.nodes()).filter(|peer| *peer != node).map(NodeId).collect();
    let mut key = [0; 32];
    let key_rng = &mut rng(options, 2);
    key.chunks_mut(8).for_each(|part| part.copy_from_slice(&key_rng.next_u64().to_le_bytes()));
    let config = RingConfig {
        limits: ring_limits(options),
        timeouts: ring_timeouts(options),
        ..RingConfig::new(NodeId(node), peers, key)
    };
    if let Err(error) = config.validate() {
        panic!("the ring's bounds were drawn wrongly: {error}");
    }
    config
}

fn ring_limits(options: &Options) -> RingLimits {
    let rng = &mut rng(options, 3);
    let burst_packets_max = rng.within(1, 8) as u32;
    let window_packets_max = burst_packets_max + rng.within(0, 8) as u32;
    let store_packets_max = window_packets_max * 4 + rng.within(0, 16) as u32;
    let message_bytes_max = 16 << 10;
    let drawn = RingLimits {
        datagram_bytes_max: rng.within(300, 2000) as usize,
        message_bytes_max,
        pending_bytes_max: message_bytes_max + rng.log_uniform(1, 16 << 10) as usize,
        pending_messages_max: rng.log_uniform(1, 32) as usize,
        burst_packets_max,
        accelerated_packets: rng.within(0, 4) as u32,
        window_packets_max,
        store_packets_max,
        transmit_packets_max: store_packets_max as usize + rng.within(0, 64) as usize,
        events_max: rng.log_uniform(8, 256) as usize,
    };
    match options.limits {
        Scale::Tiny => drawn,
        Scale::Small => RingLimits {
            datagram_bytes_max: 1400,
            message_bytes_max: 1 << 20,
            pending_bytes_max: 2 << 20,
            ..RingLimits::default()
        },
        Scale::Roomy => RingLimits::default(),
    }
}

/// A tempo that suits the network: nothing is taken for lost that a calm network may still bring.
fn ring_timeouts(options: &Options) -> RingTimeouts {
    let rng = &mut rng(options, 4);
    let defaults = RingTimeouts::default();
    let round = round(options);
    let retransmit = defaults.token_retransmit.max(round.times(2));
    let idle_hold = Duration::from_millis(rng.within(2, 40));
    let beacon = Duration::from_millis(rng.within(50, 250));
    let join = defaults.join.max(options.delay_max.times(2));
    RingTimeouts {
        token_retransmit: retransmit,
        token_loss: (retransmit + idle_hold).times(rng.within(2, 6)),
        idle_hold,
        join,
        gather: defaults.gather.max(join.times(4)).max(round.times(2)),
        beacon,
        presence: beacon.times(rng.within(3, 6)),
        ..defaults
    }
}

/// The bounds of the adversarial group.
pub fn adversary_limits(options: &Options) -> AdversaryLimits {
    let rng = &mut rng(options, 5);
    let messages_max = rng.log_uniform(1, 64) as usize;
    match options.limits {
        Scale::Tiny => AdversaryLimits { messages_max, ..AdversaryLimits::default() },
        Scale::Small | Scale::Roomy => AdversaryLimits::default(),
    }
}

/// True if the world has rings.
pub fn has_ring(options: &Options) -> bool {
    options.group == Group::Ring
}

#[cfg(test)]
mod tests {
    use crate::plan::{Overrides, Plan};

    #[test]
    fn whatever_is_drawn_makes_sense() {
        for seed in 0..500 {
            let options = Plan::draw(seed, &Overrides::default()).options;
            super::server_config(&options, 1);
            super::ring_config(&options, 1);
            super::adversary_limits(&options);
        }
    }
}
