//! Proof that accord-core needs no standard library: this program links it without one.
//!
//! The panic handler below would be a second one, and so a compile error, if anything that is
//! linked in brought the standard library. The allocator takes from a fixed area and never gives
//! back: the core has no other source of memory. Built and run by `.ci/run` and by
//! `accord-core/tests/no_std.rs`.
#![no_std]
#![no_main]

extern crate alloc;
/// The counter-proof: with this feature the program must not link.
#[cfg(feature = "with_std")]
extern crate std;

use accord_core::group::GroupEvent;
use accord_core::group::solo::{Solo, SoloLimits};
use accord_core::ids::NodeId;
use accord_core::replica::Replica;
use accord_core::replica::config::{Durability, ReplicaConfig, ReplicaLimits};
use accord_core::replica::io::Action;
use accord_core::replica::log::Recovered;
use accord_core::time::Instant;
use core::alloc::{GlobalAlloc, Layout};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicUsize, Ordering};

const AREA_BYTES: usize = 16 << 20;

#[repr(align(64))]
struct Area(core::cell::UnsafeCell<[u8; AREA_BYTES]>);

// Safety: the allocator hands out each byte of the area once.
unsafe impl Sync for Area {}

static AREA: Area = Area(core::cell::UnsafeCell::new([0; AREA_BYTES]));

struct Bump {
    next: AtomicUsize,
}

#[global_allocator]
static ALLOCATOR: Bump = Bump { next: AtomicUsize::new(0) };

// Safety: every call gets a fresh, aligned part of the area, or null.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let bytes = layout.size() + layout.align();
        let start = self.next.fetch_add(bytes, Ordering::Relaxed);
        if start + bytes > AREA_BYTES {
            return core::ptr::null_mut();
        }
        let start = start.next_multiple_of(layout.align());
        AREA.0.get().cast::<u8>().wrapping_add(start)
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

unsafe extern "C" {
    fn abort() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    // Safety: abort has no preconditions.
    unsafe { abort() }
}

/// The precompiled parts of the language refer to this; with `panic = "abort"` it is never called.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// A cluster of one server commits a command. Returns how many entries it committed.
fn commit_one() -> usize {
    let node = NodeId(1);
    let config = ReplicaConfig {
        node,
        initial: [node].into(),
        durability: Durability::Memory,
        limits: ReplicaLimits::default(),
    };
    let now = Instant::ZERO;
    let mut group = Solo::new(node, SoloLimits::default(), 1, now);
    let mut replica = Replica::new(config, Recovered::fresh(accord_core::ids::StoreId(7), true), 1);
    let mut committed = 0;
    replica.propose(b"hello").expect("there is room");
    while let Some(event) = group.poll_event() {
        if let GroupEvent::View(view) = &event {
            assert!(view.contains(node));
        }
        replica.handle_group(now, event);
        while let Some(action) = replica.poll_action() {
            match action {
                Action::Multicast(payload) => group.submit(now, payload).expect("there is room"),
                Action::Commit(_) => committed += 1,
                _ => {}
            }
        }
    }
    committed
}

/// Exits with 0 if the marker, the voters and the command were committed.
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    i32::from(commit_one() != 3)
}
