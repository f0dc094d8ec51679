//! Prints how long entries take among a million users: `cargo bench -p flotilla-model`. No entry may take more than 20 ms.
#![allow(clippy::unwrap_used, reason = "a benchmark may panic")]

#[allow(dead_code, reason = "a benchmark needs little of it")]
#[path = "../tests/it/world.rs"]
mod world;

use flotilla_model::command::*;
use flotilla_model::*;
use world::*;

fn main() {
    let begun = std::time::Instant::now();
    let mut world = crowded(1_000_000, 10_000);
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
    timed("256 opens in one entry", &mut |world| open_many(world, "user78", 256));
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

fn envelope(command: Command) -> Envelope {
    Envelope { id: CommandId::Unnumbered, actor: "test".into(), command }
}

/// Three nodes, `users` users; `crowd` has `sessions` sessions over the nodes.
fn crowded(users: u64, sessions: u64) -> World {
    let mut world = World::new(3);
    for first in (0..users).step_by(256) {
        let create = |user: u64| {
            let username = name(&format!("user{user}"));
            envelope(Command::CreateUser(CreateUser { username, spec: spec(&format!("homes/{user}")) }))
        };
        let replies = world.entry((first..users.min(first + 256)).map(create).collect());
        assert!(replies.iter().all(Result::is_ok));
    }
    world.create("crowd", spec("crowd"));
    open_many(&mut world, "crowd", sessions);
    world
}

fn open_many(world: &mut World, user: &str, sessions: u64) {
    for first in (0..sessions).step_by(256) {
        let mut commands = Vec::new();
        for turn in first..sessions.min(first + 256) {
            let id = world.id(1 + turn % 3);
            commands.push(Envelope { id, actor: "node".into(), command: world.open_command(user) });
        }
        let replies = world.entry(commands);
        assert!(replies.iter().all(Result::is_ok), "{replies:?}");
    }
}
