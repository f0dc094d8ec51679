//! Prints how long entries take among a million users: `cargo bench -p flotilla-model`. No entry may take more than 20 ms.
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

#[allow(dead_code, reason = "a benchmark needs little of it")]
#[path = "../tests/it/world.rs"]
mod world;

use flotilla_model::*;
use world::*;

fn main() {
    let begun = std::time::Instant::now();
    let mut world = crowded(1_000_000, 10_000, |_| {});
    println!("1,000,000 users and 10,000 sessions in {:?}", begun.elapsed());
    let mut timed = |what: &str, run: &mut dyn FnMut(&mut World)| {
        // A published state shares all its rows with the next: what a node pays for.
        let published = world.state.clone();
        let begun = std::time::Instant::now();
        run(&mut world);
        println!("{what}: {:?}, {} rows", begun.elapsed(), world.last.rows_touched);
        drop(published);
    };
    timed("one open", &mut |world| _ = world.open(1, "user77"));
    timed("256 opens in one entry", &mut |world| open_many(world, "user78", 256, |_| {}));
    timed("lowered limit", &mut |world| {
        _ = world.update("crowd", UserPatch { max_sessions: Some(9_700), ..UserPatch::default() });
    });
    timed("disabled", &mut |world| {
        _ = world.update("crowd", UserPatch { status: Some(Status::Disabled), ..UserPatch::default() });
    });
    timed("expiry and a slice of its sweep", &mut |world| _ = world.expire(1));
    timed("a slice of the sweep", &mut |world| _ = world.entry(Vec::new()));
    let begun = std::time::Instant::now();
    let bytes: usize = world.state.to_snapshot().map(|chunk| chunk.len()).sum();
    println!("snapshot of {bytes} bytes in {:?}", begun.elapsed());
    let begun = std::time::Instant::now();
    let restored = State::from_snapshot(world.state.to_snapshot()).unwrap();
    println!("written and restored in {:?}", begun.elapsed());
    assert_eq!(restored.hash(), world.state.hash());
}
