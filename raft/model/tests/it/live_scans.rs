//! The rules of scans of accounts in use, one by one (7.3). The games of `escrow` play them together.

use flotilla_model::command::*;
use flotilla_model::*;

use crate::world::*;

const LIMIT: Limits = Limits { bytes: 1_000, files: i64::MAX };

struct Desk {
    world: World,
    account: AccountId,
    sessions: Vec<SessionId>,
}

fn bytes(bytes: i64) -> Amount {
    Amount::new(bytes, 0)
}

impl Desk {
    /// A user with sessions on nodes 1 and 2; node 1 has stored 100 bytes and holds 50 more.
    fn new() -> Self {
        let mut world = World::new(3);
        world.create("demo", UserSpec { quota_size: 1_000, ..spec("demo") });
        let account = world.state.user(&name("demo")).unwrap().account;
        let mut desk = Desk { world, account, sessions: Vec::new() };
        desk.say(AccountCommand::Inspected(Inspected { account, found: Amount::ZERO, uncounted: false })).unwrap();
        for node in [1, 2] {
            let session = desk.world.open(node, "demo").unwrap();
            desk.sessions.push(session);
        }
        let incarnation = desk.world.state.user(&name("demo")).unwrap().incarnation;
        let (need, none) = (bytes(150), Amount::ZERO);
        let grant = Grant { account, username: name("demo"), incarnation, need, ahead: none, holds: none, order: None };
        desk.as_node(1, AccountCommand::Grant(grant)).unwrap();
        desk.settle(1, AccountSettlement { spent: vec![(LIMIT, bytes(100))], ..desk.part(1) });
        desk
    }
    fn say(&mut self, command: AccountCommand) -> Reply {
        self.world.run(Command::Account(command))
    }
    fn as_node(&mut self, node: u64, command: AccountCommand) -> Reply {
        let id = self.world.id(node);
        self.world.run_as(id, Command::Account(command))
    }
    fn settle(&mut self, node: u64, part: AccountSettlement) {
        self.as_node(node, AccountCommand::Settle(Settle { accounts: vec![part] })).unwrap();
    }
    fn row(&self) -> Account {
        Account::clone(self.world.state.account(self.account).unwrap())
    }
    fn live(&self) -> LiveScan {
        self.row().scan.unwrap().live.unwrap()
    }
    fn part(&self, node: u64) -> AccountSettlement {
        let since = self.row().holders[&(NodeId(node), self.world.epoch(node))].since;
        AccountSettlement { account: self.account, since, ..AccountSettlement::default() }
    }
    fn begin(&mut self, force: bool) -> Result<LogIndex, Refusal> {
        let (node, epoch) = (NodeId(3), self.world.epoch(3));
        let begin = ScanBegin { account: self.account, node, epoch, force, live: true };
        self.say(AccountCommand::ScanBegin(begin)).map(|_| self.world.index)
    }
    fn confirm(&mut self, node: u64, begun: LogIndex) {
        let word = ScanWord { begun, settlement: self.part(node) };
        self.as_node(node, AccountCommand::ScanConfirm(word)).unwrap();
    }
    fn report(&mut self, node: u64, begun: LogIndex, settlement: AccountSettlement) {
        self.as_node(node, AccountCommand::ScanReport(ScanWord { begun, settlement })).unwrap();
    }
    fn walked(&mut self, begun: LogIndex, found: i64, staged: i64) -> Reply {
        let walked = Walked { found: bytes(found), staged: bytes(staged) };
        self.say(AccountCommand::ScanWalked(ScanWalked { account: self.account, begun, walked }))
    }
    /// Both confirm, it is walked, both report.
    fn scan(&mut self, found: i64, disturbed: bool) {
        let begun = self.begin(false).unwrap();
        self.confirm(1, begun);
        self.confirm(2, begun);
        self.walked(begun, found, 0).unwrap();
        self.report(1, begun, AccountSettlement { disturbed, ..self.part(1) });
        self.report(2, begun, self.part(2));
    }
}

fn refused(reply: Reply) -> AccountRefusal {
    match reply {
        Err(Refusal::Account(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_that_was_walked_before_all_have_confirmed_counts() {
    let mut desk = Desk::new();
    let begun = desk.begin(false).unwrap();
    assert_eq!(refused(desk.walked(begun, 100, 0)), AccountRefusal::ScanUnconfirmed);
    desk.confirm(1, begun);
    assert_eq!(refused(desk.walked(begun, 100, 0)), AccountRefusal::ScanUnconfirmed);
    desk.confirm(2, begun);
    assert_eq!(desk.live().barrier, Some(desk.world.index));
    desk.walked(begun, 100, 0).unwrap();
    assert_eq!(refused(desk.walked(begun, 5, 0)), AccountRefusal::ScanOvertaken, "walked once");
    assert_eq!(desk.row().scan_committed, 0, "nobody has reported");
}

#[test]
fn a_quiet_scan_counts_what_it_found_and_leaves_grants_alone() {
    let mut desk = Desk::new();
    desk.say(AccountCommand::WantScan { account: desk.account, force: false }).unwrap();
    desk.scan(77, false);
    let row = desk.row();
    assert_eq!((row.used, row.outstanding(), row.marked, row.asked), (bytes(77), bytes(50), false, false));
}

#[test]
fn what_is_settled_behind_the_barrier_is_added_and_leaves_a_mark() {
    let mut desk = Desk::new();
    let begun = desk.begin(false).unwrap();
    desk.confirm(1, begun);
    desk.confirm(2, begun);
    desk.walked(begun, 60, 0).unwrap();
    let part = AccountSettlement { spent: vec![(LIMIT, bytes(30))], ..desk.part(1) };
    desk.report(1, begun, part);
    desk.report(2, begun, desk.part(2));
    let row = desk.row();
    assert_eq!((row.used, row.marked), (bytes(90), true), "60 were found, 30 may be among them or not");
    assert_eq!(row.outstanding(), bytes(20));
}

#[test]
fn what_may_be_counted_twice_does_not_raise_the_count() {
    let mut desk = Desk::new();
    let begun = desk.begin(false).unwrap();
    desk.confirm(1, begun);
    desk.confirm(2, begun);
    desk.walked(begun, 145, 45).unwrap();
    desk.report(1, begun, desk.part(1));
    desk.report(2, begun, desk.part(2));
    assert_eq!((desk.row().used, desk.row().marked), (bytes(100), true), "45 are held by an upload");
}

#[test]
fn a_disturbed_scan_counts_nothing_and_the_third_takes_the_larger() {
    let mut desk = Desk::new();
    for tries in 1..3 {
        desk.scan(40, true);
        let row = desk.row();
        assert_eq!((row.used, row.scan_tries, row.scan_committed, row.scan), (bytes(100), tries, 0, None));
    }
    desk.scan(40, true);
    let row = desk.row();
    assert_eq!((row.used, row.scan_tries, row.marked), (bytes(100), 0, true));
    for _ in 0..3 {
        desk.scan(140, true);
    }
    assert_eq!((desk.row().used, desk.row().marked), (bytes(140), true));
    desk.scan(90, false);
    assert_eq!((desk.row().used, desk.row().marked), (bytes(90), false));
}

#[test]
fn what_is_said_between_the_begin_and_the_barrier_disturbs_too() {
    let mut desk = Desk::new();
    let begun = desk.begin(false).unwrap();
    desk.confirm(1, begun);
    // Node 1 may have learnt the size of a file just before this one made it shorter.
    desk.settle(2, AccountSettlement { disturbed: true, mark: true, ..desk.part(2) });
    desk.confirm(2, begun);
    desk.walked(begun, 10, 0).unwrap();
    desk.report(1, begun, desk.part(1));
    desk.report(2, begun, desk.part(2));
    assert_eq!((desk.row().used, desk.row().scan_tries), (bytes(100), 1));
}

#[test]
fn a_node_whose_lease_ends_behind_the_barrier_makes_the_scan_begin_again() {
    let mut desk = Desk::new();
    let begun = desk.begin(false).unwrap();
    desk.confirm(1, begun);
    desk.confirm(2, begun);
    desk.world.expire(2).unwrap();
    assert_eq!(refused(desk.walked(begun, 50, 0)), AccountRefusal::EndedDuringScan { node: NodeId(2) });
    assert_eq!(desk.row().used, bytes(100));
}

#[test]
fn a_row_that_was_summed_up_or_settled_after_its_end_disturbs_a_scan_that_it_lived_in() {
    let mut desk = Desk::new();
    let (begun, dead) = (desk.begin(false).unwrap(), desk.world.epoch(2));
    let since = desk.part(2).since;
    desk.confirm(1, begun);
    desk.confirm(2, begun);
    desk.world.expire(2).unwrap();
    let (account, node, epoch) = (desk.account, NodeId(2), dead);
    let (total, credits) = (Amount::ZERO, Vec::new());
    desk.say(AccountCommand::SettleDead(SettleDead { account, node, epoch, since, total, credits, mark: false }))
        .unwrap();
    desk.say(AccountCommand::Fenced(Fenced { account, node, epoch })).unwrap();
    assert!(!desk.row().holders.contains_key(&(node, epoch)), "settled and fenced");
    desk.walked(begun, 50, 0).unwrap();
    desk.report(1, begun, desk.part(1));
    assert_eq!((desk.row().used, desk.row().scan_tries), (bytes(100), 1), "it may have renamed something");
}

#[test]
fn a_session_that_closes_confirms_and_reports_by_having_settled() {
    let mut desk = Desk::new();
    let begun = desk.begin(false).unwrap();
    desk.confirm(1, begun);
    desk.world.close(desk.sessions[1]).unwrap();
    desk.walked(begun, 77, 0).unwrap();
    desk.report(1, begun, desk.part(1));
    assert_eq!((desk.row().used, desk.row().marked), (bytes(77), false));
}

#[test]
fn what_an_epoch_that_ended_before_it_may_have_spent_comes_back_by_a_scan_in_use() {
    let mut desk = Desk::new();
    let epoch = desk.world.epoch(1);
    desk.world.expire(1).unwrap();
    let may_write = AccountRefusal::MayStillWrite { node: NodeId(1), epoch };
    assert_eq!(desk.begin(false).map_err(|refusal| refused(Err(refusal))), Err(may_write));
    let unfenced = AccountRefusal::Unfenced { node: NodeId(1), epoch };
    assert_eq!(desk.begin(true).map_err(|refusal| refused(Err(refusal))), Err(unfenced));
    desk.say(AccountCommand::Fenced(Fenced { account: desk.account, node: NodeId(1), epoch })).unwrap();
    desk.world.register(1);
    let begun = desk.begin(false).unwrap();
    assert_eq!(desk.row().taken(), bytes(150));
    desk.confirm(2, begun);
    desk.walked(begun, 120, 0).unwrap();
    desk.report(2, begun, desk.part(2));
    let row = desk.row();
    assert_eq!((row.taken(), row.holders.len(), row.marked), (bytes(120), 1, false));
}

#[test]
fn a_scan_that_is_given_up_says_why_and_changes_no_number() {
    let mut desk = Desk::new();
    desk.say(AccountCommand::WantScan { account: desk.account, force: true }).unwrap();
    let begun = desk.begin(false).unwrap();
    let give_up = |begun, reason: &str| {
        let account = AccountId(0);
        ScanGiveUp { account, begun, reason: reason.into() }
    };
    let say = |desk: &mut Desk, word: ScanGiveUp| {
        let account = desk.account;
        desk.say(AccountCommand::ScanGiveUp(ScanGiveUp { account, ..word }))
    };
    assert_eq!(refused(say(&mut desk, give_up(begun + 1, "late"))), AccountRefusal::ScanOvertaken);
    assert_eq!(refused(say(&mut desk, give_up(begun, &"x".repeat(600)))), AccountRefusal::TooLarge);
    say(&mut desk, give_up(begun, "node 2 did not answer")).unwrap();
    let row = desk.row();
    assert_eq!((row.used, row.marked, row.asked, row.forced), (bytes(100), true, false, false));
    assert_eq!(row.scan_given_up.as_deref(), Some("node 2 did not answer"));
    desk.scan(99, false);
    assert_eq!((desk.row().used, desk.row().scan_given_up), (bytes(99), None));
}
