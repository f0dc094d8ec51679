//! What an account keeps of epochs that ended, when it goes away, and in which order accounts are scanned.

use flotilla_model::command::*;
use flotilla_model::*;

use crate::world::*;

struct Home {
    world: World,
    account: AccountId,
}

impl Home {
    /// A user with a quota of 1,000 bytes whose empty folder was looked at.
    fn new() -> Self {
        let mut world = World::new(3);
        world.create("demo", UserSpec { quota_size: 1_000, ..spec("demo") });
        let account = world.state.user(&name("demo")).unwrap().account;
        let mut home = Home { world, account };
        home.say(AccountCommand::Inspected(Inspected { account, found: Amount::ZERO, uncounted: false })).unwrap();
        home
    }
    fn say(&mut self, command: AccountCommand) -> Reply {
        self.world.run(Command::Account(command))
    }
    fn row(&self) -> Account {
        Account::clone(self.world.state.account(self.account).unwrap())
    }
    fn ended(&self) -> usize {
        self.world.state.dead_holders(&self.row()).count()
    }
    fn grant(&mut self, node: u64, bytes: i64) -> Reply {
        let incarnation = self.world.state.user(&name("demo")).unwrap().incarnation;
        let grant = Grant {
            account: self.account,
            username: name("demo"),
            incarnation,
            need: Amount::new(bytes, 0),
            ahead: Amount::ZERO,
            holds: Amount::ZERO,
            order: None,
        };
        let id = self.world.id(node);
        self.world.run_as(id, Command::Account(AccountCommand::Grant(grant)))
    }
    /// One life of a node: a session, a grant of one byte, a crash.
    fn live_and_crash(&mut self, node: u64) -> Result<Epoch, Refusal> {
        let epoch = self.world.epoch(node);
        let opened = self.world.open(node, "demo");
        if opened.is_ok() {
            self.grant(node, 1).unwrap();
        }
        self.world.register(node);
        opened.map(|_| epoch)
    }
    fn fence(&mut self, node: u64, epoch: Epoch) {
        let (account, node) = (self.account, NodeId(node));
        self.say(AccountCommand::Fenced(Fenced { account, node, epoch })).unwrap();
    }
}

#[test]
fn ended_epochs_whose_processes_are_over_are_summed_up_once_there_are_many() {
    let mut home = Home::new();
    for life in 1..=200 {
        let epoch = home.live_and_crash(1).unwrap();
        home.fence(1, epoch);
        assert_eq!(home.row().taken(), Amount::new(life, 0), "what they may have spent stays charged");
        assert!(home.ended() <= 65, "{}", home.ended());
        invariant::check_all(&home.world.state).unwrap();
    }
    assert!(home.row().marked && !home.row().uncertain, "over-counted, never under");
}

#[test]
fn an_ended_epoch_that_may_still_publish_or_write_is_never_summed_up_and_its_rows_have_a_bound() {
    let mut home = Home::new();
    let mut epochs = Vec::new();
    let refused = loop {
        match home.live_and_crash(1) {
            Ok(epoch) => epochs.push(epoch),
            Err(refusal) => break refusal,
        }
        assert_eq!(home.ended(), epochs.len(), "none of them is fenced");
    };
    assert_eq!(refused, Refusal::Account(AccountRefusal::TooManyEnded { count: 256 }));
    invariant::check_all(&home.world.state).unwrap();
    for epoch in epochs {
        home.fence(1, epoch);
    }
    home.world.open(1, "demo").unwrap();
    assert!(home.ended() <= 64);
    assert_eq!(home.row().taken(), Amount::new(256, 0));
    invariant::check_all(&home.world.state).unwrap();
}

#[test]
fn ended_epochs_whose_process_went_away_since_keep_no_new_session_out() {
    let mut home = Home::new();
    let process = home.world.state.node(NodeId(1)).unwrap().clone();
    for _ in 0..256 {
        let epoch = home.world.epoch(1);
        home.world.open(1, "demo").unwrap();
        home.grant(1, 1).unwrap();
        home.world.expire(1).unwrap();
        home.fence(1, epoch);
        home.world.register_as(1, process.start);
    }
    assert_eq!(home.ended(), 256, "the process that held them runs still");
    assert_eq!(home.world.open(1, "demo"), Err(Refusal::Account(AccountRefusal::TooManyEnded { count: 256 })));
    home.world.register(1);
    home.world.open(1, "demo").unwrap();
    assert!(home.ended() <= 64, "{}", home.ended());
    assert_eq!(home.row().taken(), Amount::new(256, 0));
    invariant::check_all(&home.world.state).unwrap();
}

#[test]
fn what_happened_to_an_account_is_told_before_its_end() {
    let mut home = Home::new();
    let crashed = home.live_and_crash(1).unwrap();
    let since = home.row().holders.values().next().unwrap().since;
    home.world.run(Command::DeleteUser(DeleteUser { username: name("demo"), expected_revision: None })).unwrap();
    let (account, node, total) = (home.account, NodeId(1), Amount::new(1, 0));
    let late = SettleDead { account, node, epoch: crashed, since, total, credits: Vec::new(), mark: false };
    home.say(AccountCommand::SettleDead(late)).unwrap();
    home.fence(1, crashed);
    assert!(home.world.state.account(account).is_none());
    let facts: Vec<_> = home.world.last.events.iter().map(|event| event.fact.clone()).collect();
    let fenced = event::Fact::EpochFenced { account, epoch: crashed };
    let removed = event::Fact::AccountRemoved { account, root: root("demo").to_string() };
    assert_eq!(facts, [fenced, removed]);
}

#[test]
fn an_account_goes_with_its_last_user_once_nobody_holds_anything_of_it() {
    let mut home = Home::new();
    let session = home.world.open(2, "demo").unwrap();
    let crashed = home.live_and_crash(1).unwrap();
    let delete = DeleteUser { username: name("demo"), expected_revision: None };
    home.world.run(Command::DeleteUser(delete)).unwrap();
    assert!(home.world.state.account(home.account).is_some(), "a session is open and an epoch unfenced");
    home.world.close(session).unwrap();
    home.fence(1, crashed);
    let row = home.row();
    let since = row.holders.values().next().unwrap().since;
    let late = SettleDead {
        account: home.account,
        node: NodeId(1),
        epoch: crashed,
        since,
        total: Amount::new(1, 0),
        credits: Vec::new(),
        mark: false,
    };
    home.say(AccountCommand::SettleDead(late.clone())).unwrap();
    assert!(home.world.state.account(home.account).is_none(), "settled and fenced");
    let events = &home.world.last.events;
    assert!(events.iter().any(|event| matches!(&event.fact, event::Fact::AccountRemoved { .. })), "{events:?}");
    assert_eq!(home.say(AccountCommand::SettleDead(late)), Err(Refusal::Account(AccountRefusal::NotFound)));
    invariant::check_all(&home.world.state).unwrap();
}

#[test]
fn a_new_user_of_a_forgotten_root_begins_with_what_lies_there() {
    let mut home = Home::new();
    let delete = || Command::DeleteUser(DeleteUser { username: name("demo"), expected_revision: None });
    home.world.run(delete()).unwrap();
    assert!(home.world.state.account(home.account).is_none(), "it was never used");
    home.world.create("demo", UserSpec { quota_size: 1_000, ..spec("demo") });
    let account = home.world.state.user(&name("demo")).unwrap().account;
    assert!(account > home.account && !home.world.state.account(account).unwrap().inspected);
    home.account = account;
    home.world.open(1, "demo").unwrap();
    assert_eq!(home.grant(1, 1), Ok(Done::Account(AccountDone::Waiting)), "nothing before somebody has looked");
    let found = Amount::new(990, 3);
    home.say(AccountCommand::Inspected(Inspected { account, found, uncounted: false })).unwrap();
    assert_eq!(home.row().used, found);
    // A home that moves away leaves its account too.
    let moved = UserPatch { home: Some(root("elsewhere")), ..UserPatch::default() };
    let session = home.world.state.live_sessions().next().unwrap().id;
    home.world.update("demo", moved).unwrap();
    home.world.close(session).unwrap();
    assert!(home.world.state.account(account).is_none());
    invariant::check_all(&home.world.state).unwrap();
}

#[test]
fn a_forced_scan_does_not_wait_for_a_process_and_the_next_one_does_again() {
    let mut home = Home::new();
    home.world.open(1, "demo").unwrap();
    let epoch = home.world.epoch(1);
    home.world.expire(1).unwrap();
    home.fence(1, epoch);
    let obstacle = |home: &Home| home.world.state.scan_obstacle(&home.row(), home.row().forced);
    let account = home.account;
    home.say(AccountCommand::WantScan { account, force: false }).unwrap();
    assert_eq!(obstacle(&home), Some(AccountRefusal::MayStillWrite { node: NodeId(1), epoch }));
    home.say(AccountCommand::WantScan { account, force: true }).unwrap();
    assert_eq!(obstacle(&home), None);
    let begin = ScanBegin { account, node: NodeId(2), epoch: home.world.epoch(2), force: true, live: false };
    home.say(AccountCommand::ScanBegin(begin)).unwrap();
    let scan = home.row().scan.unwrap();
    assert_eq!(scan.begun_wall, WallTime(home.world.wall));
    let commit = ScanCommit { account, begun: scan.begun, found: Amount::ZERO };
    home.say(AccountCommand::ScanCommit(commit)).unwrap();
    assert!(!home.row().forced && !home.row().marked);
}

#[test]
fn limited_accounts_short_of_room_are_scanned_first() {
    let mut world = World::new(1);
    let mut account = |user: &str, quota_size: u64, used: i64| {
        world.create(user, UserSpec { quota_size, ..spec(user) });
        let account = world.state.user(&name(user)).unwrap().account;
        let found = Amount::new(used, 1);
        world.run(Command::Account(AccountCommand::Inspected(Inspected { account, found, uncounted: false }))).unwrap();
        account
    };
    let free = account("free", 0, 1 << 40);
    let roomy = account("roomy", 1 << 40, 5_000);
    let tight = account("tight", 1_000, 990);
    let blind = account("blind", 1_000, 0);
    let patch = |quota_size| UserPatch { quota_size: Some(quota_size), ..UserPatch::default() };
    world.update("blind", patch(0)).unwrap();
    world.open(1, "blind").unwrap();
    world.expire(1).unwrap();
    world.update("blind", patch(1_000)).unwrap();
    let mut order = vec![free, roomy, tight, blind];
    order.sort_by_key(|account| world.state.scan_rank(world.state.account(*account).unwrap()));
    assert_eq!(order, [blind, tight, roomy, free]);
}
