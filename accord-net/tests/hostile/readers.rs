//! Who does not take what it is sent.

use crate::raw::Raw;
use crate::siege::Siege;
use accord_core::ids::WatchId;
use accord_core::protocol::{ClientMessage, Consistency, EventMask, WatchFilter};
use accord_core::state::ReadQuery;
use accord_core::time::Duration;
use bytes::Bytes;

/// More than the buffers of a socket take.
const VALUE_BYTES: usize = 256 << 10;

/// Connections that ask for far more than they ever take.
async fn floods(siege: &Siege, consistency: Consistency) -> Vec<Raw> {
    let good = siege.cluster.client().await.expect("the cluster serves");
    good.put("large", vec![1; VALUE_BYTES]).await.expect("there is room");
    let mut floods = Vec::new();
    for _ in 0..4 {
        // It wishes for an hour, but a connection that takes nothing does not last that long.
        let (mut raw, _) = Raw::session(siege.target().client_addr(), 3_600_000).await;
        for read in 0..5000 {
            let key = Bytes::from_static(b"large");
            let query = ReadQuery::Get { key, offset: 0, length_max: u64::MAX };
            if !raw.tell(&ClientMessage::read(read, consistency, query)).await {
                break;
            }
        }
        floods.push(raw);
    }
    siege.good_go_on().await;
    floods
}

/// What is answered at once stops the server from reading on, until it loses its patience.
// Claims: C-bounds
#[tokio::test]
async fn who_reads_much_and_takes_nothing_is_hung_up_on() {
    let siege = Siege::begin(|options| options.limits.unsent_bytes_max = 1 << 20).await;
    for raw in floods(&siege, Consistency::Local).await {
        raw.end_without_reading().await;
    }
    siege.until_counted("accord_connection_ends_total{reason=\"stalled\"}", 1).await;
    siege.lift().await;
}

/// What is answered later comes all at once, and is refused as far as it does not fit.
#[tokio::test]
async fn what_does_not_fit_beside_what_was_not_taken_is_refused() {
    let siege = Siege::begin(|options| options.limits.unsent_bytes_max = 1 << 20).await;
    let floods = floods(&siege, Consistency::Linearizable).await;
    siege.until_counted("accord_refused_total{reason=\"busy\"}", 100).await;
    drop(floods);
    siege.lift().await;
}

#[tokio::test]
async fn who_watches_much_and_takes_nothing_is_hung_up_on() {
    let siege = Siege::begin(|options| {
        // More than the system takes for a connection that nobody reads from, which is 4 MiB: else
        // all that is left at the end may go there, and nobody has to linger.
        options.limits.unsent_bytes_max = 8 << 20;
        // Where writers are slow, a deaf watcher would else be taken for stalled before it is
        // told too much.
        options.net.stall_timeout = Duration::from_secs(3600);
    });
    let siege = siege.await;
    let at = siege.target().client_addr();
    let mut deaf = Vec::new();
    for watch in 0..8 {
        let (mut raw, _) = Raw::session(at, 3_600_000).await;
        raw.tell(&ClientMessage::Watch {
            watch: WatchId(watch),
            filter: WatchFilter::Prefix(Bytes::from_static(b"loud/")),
            mask: EventMask::ALL,
            once: false,
            from: None,
        })
        .await;
        deaf.push(raw);
    }
    let good = siege.cluster.client().await.expect("the cluster serves");
    for number in 0..80_u32 {
        let key = format!("loud/{}", number % 4);
        good.put(key, vec![1; VALUE_BYTES]).await.expect("writers do not wait for watchers");
    }
    for raw in deaf {
        raw.end_without_reading().await;
    }
    siege.until_counted("accord_hung_up_total{reason=\"too_slow\"}", 1).await;
    // It has a moment for what was said before.
    siege.until_counted("accord_connection_ends_total{reason=\"lingered\"}", 1).await;
    siege.lift().await;
}
