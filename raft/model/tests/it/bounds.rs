//! The bound on rows touched: 2,000 per command, 20,000 per entry, whatever the size of the state.

use flotilla_model::command::*;
use flotilla_model::*;

use crate::world::*;

const PER_COMMAND: u64 = 2_000;
const PER_ENTRY: u64 = 20_000;

fn is_bounded(world: &World) {
    assert_bounded(world, "one of many entries");
}

fn assert_bounded(world: &World, what: &str) {
    let (command, entry) = (world.last.most_rows_by_a_command, world.last.rows_touched);
    assert!(command <= PER_COMMAND, "{what}: a command touched {command} rows");
    assert!(entry <= PER_ENTRY, "{what}: an entry touched {entry} rows");
}

#[test]
fn no_command_touches_more_rows_than_its_bound_among_a_hundred_thousand_users() {
    let mut world = crowded(100_000, 10_000, is_bounded);
    assert_eq!(world.state.slots_in_use(&name("crowd")), 10_000);
    let changes: [(&str, UserPatch); 6] = [
        ("limit above", UserPatch { max_sessions: Some(10_001), ..UserPatch::default() }),
        ("limit below by few", UserPatch { max_sessions: Some(9_900), ..UserPatch::default() }),
        ("unlimited", UserPatch { max_sessions: Some(0), ..UserPatch::default() }),
        ("limit below by many", UserPatch { max_sessions: Some(5), ..UserPatch::default() }),
        ("disabled", UserPatch { status: Some(Status::Disabled), ..UserPatch::default() }),
        ("enabled", UserPatch { status: Some(Status::Enabled), ..UserPatch::default() }),
    ];
    for (what, patch) in changes {
        world.update("crowd", patch).unwrap();
        assert_bounded(&world, what);
    }
    assert!(matches!(world.open(1, "crowd"), Err(Refusal::SessionLimitReached { in_use: 10_000, .. })));
    assert_bounded(&world, "refused open");
    let delete = DeleteUser { username: name("crowd"), expected_revision: None };
    assert!(matches!(world.run(Command::DeleteUser(delete)), Ok(Done::Revoked { nodes, .. }) if nodes.len() == 3));
    assert_bounded(&world, "deletion");
    for node in 1..=3 {
        world.expire(node).unwrap();
        assert_bounded(&world, "expiry");
    }
    assert_eq!(world.state.live_sessions().count(), 0, "all slots are free at once");
    let mut entries = 0;
    while world.state.dead_epochs().next().is_some() {
        world.entry(Vec::new());
        assert_bounded(&world, "sweep");
        entries += 1;
    }
    assert!((30..=120).contains(&entries), "{entries} entries to sweep 10,000 sessions and their numbers");
    invariant::check_all(&world.state).unwrap();
}

#[test]
fn few_sessions_too_many_are_marked_one_by_one_also_among_many() {
    let mut world = crowded(0, 2_000, is_bounded);
    world.update("crowd", UserPatch { max_sessions: Some(1_900), ..UserPatch::default() }).unwrap();
    let cut = world.state.live_sessions().filter(|session| world.state.session_cut(session).is_some()).count();
    assert_eq!(cut, 100);
    let oldest_cut = world.state.live_sessions().filter(|s| s.cut.is_some()).map(|s| s.opened_index).min();
    let newest_kept = world.state.live_sessions().filter(|s| s.cut.is_none()).map(|s| s.opened_index).max();
    assert!(newest_kept <= oldest_cut, "the newest go first");
    invariant::check_all(&world.state).unwrap();
}

#[test]
fn an_entry_of_many_heavy_commands_stays_within_its_bound() {
    let mut world = World::new(3);
    for user in 0..64 {
        world.create(&format!("user{user}"), spec(&format!("homes/{user}")));
        open_many(&mut world, &format!("user{user}"), 300, is_bounded);
    }
    world.expire(3).unwrap();
    let disable = |user: u64| {
        let patch = UserPatch { status: Some(Status::Disabled), ..UserPatch::default() };
        let username = name(&format!("user{}", user % 64));
        envelope(Command::UpdateUser(UpdateUser { username, expected_revision: None, patch }))
    };
    let replies = world.entry((0..256).map(disable).collect());
    assert!(replies.iter().all(Result::is_ok));
    assert_bounded(&world, "many revocations");
    assert!(world.state.live_sessions().all(|session| world.state.session_cut(session).is_some()));
}

/// Fills the window of events, so that each further one pushes one out.
fn fill_the_window(world: &mut World) {
    let window = world.state.settings().unwrap().event_window;
    let put =
        || envelope(Command::PutSecret(PutSecret { name: "s0".into(), expected_revision: None, sealed: vec![1] }));
    while world.state.events_compacted_through() == 0 {
        world.entry((0..window.min(256)).map(|_| put()).collect());
    }
}

/// The one command of an entry, taken by its full width; what it touches is within what it was judged at.
fn widest(world: &mut World, id: CommandId, command: Command, least: u64) {
    let one = Envelope { id, actor: "test".into(), command };
    let judged = one.rows_at_most();
    let reply = world.entry(vec![one]).remove(0);
    assert!(reply.is_ok(), "{reply:?}");
    let touched = world.last.most_rows_by_a_command;
    assert!((least..=judged).contains(&touched), "{touched} rows touched, at least {least}, judged at {judged}");
    assert_bounded(world, "the widest");
}

#[test]
fn sealing_all_secrets_anew_stays_within_its_bound() {
    let mut world = World::new(1);
    let put = |secret: u64| {
        let put = PutSecret { name: format!("s{secret}"), expected_revision: None, sealed: vec![1] };
        envelope(Command::PutSecret(put))
    };
    world.entry((0..256).map(put).collect());
    fill_the_window(&mut world);
    let secrets: Vec<_> = world.state.secrets().map(|row| (row.name.clone(), row.revision, vec![2])).collect();
    assert_eq!(secrets.len(), 256);
    widest(&mut world, CommandId::Unnumbered, Command::ResealSecrets(ResealSecrets { secrets }), 3 * 256);
}

#[test]
fn letting_in_the_last_node_stays_within_its_bound() {
    let mut world = World::new(63);
    fill_the_window(&mut world);
    world.run(Command::MakeJoinToken(MakeJoinToken { hash: [7; 32], life_ms: 60_000 })).unwrap();
    widest(&mut world, CommandId::Unnumbered, Command::AdmitNode(admit_node([7; 32], 100)), 63);
    assert_eq!(world.state.nodes().count(), 64);
}

#[test]
fn a_settlement_that_marks_and_ends_all_its_accounts_stays_within_its_bound() {
    let mut world = World::new(1);
    let limits = Limits { bytes: 100, files: i64::MAX };
    let amount = Amount::new(10, 0);
    let mut parts = Vec::new();
    for user in 0..MAX_SETTLED_ACCOUNTS {
        let username = format!("user{user}");
        world.create(&username, UserSpec { quota_size: 100, ..spec(&username) });
        let (account, incarnation) =
            world.state.user(&name(&username)).map(|row| (row.account, row.incarnation)).unwrap();
        let inspected = Inspected { account, found: Amount::ZERO, uncounted: false };
        world.run(Command::Account(AccountCommand::Inspected(inspected))).unwrap();
        let session = world.open(1, &username).unwrap();
        let since = world.index;
        let (ahead, holds) = (Amount::ZERO, Amount::ZERO);
        let grant = Grant { account, username: name(&username), incarnation, need: amount, ahead, holds, order: None };
        let id = world.id(1);
        world.run_as(id, Command::Account(AccountCommand::Grant(grant))).unwrap();
        world.close(session).unwrap();
        world.run(Command::DeleteUser(DeleteUser { username: name(&username), expected_revision: None })).unwrap();
        let returned = vec![(limits, amount)];
        parts.push(AccountSettlement { account, since, returned, mark: true, ..AccountSettlement::default() });
    }
    fill_the_window(&mut world);
    assert_eq!(world.state.accounts().count(), MAX_SETTLED_ACCOUNTS);
    let settle = Command::Account(AccountCommand::Settle(Settle { accounts: parts }));
    let id = world.id(1);
    widest(&mut world, id, settle, 6 * MAX_SETTLED_ACCOUNTS as u64);
    assert_eq!(world.state.accounts().count(), 0);
}
