//! The rules of accounts, one by one.

use flotilla_model::command::*;
use flotilla_model::*;

use crate::world::*;

const LIMIT: Limits = Limits { bytes: 100, files: i64::MAX };

struct Desk {
    world: World,
    account: AccountId,
}

fn bytes(bytes: i64) -> Amount {
    Amount::new(bytes, 0)
}

impl Desk {
    /// A user with a quota of 100 bytes and a session on nodes 1 and 2.
    fn new() -> Self {
        let mut world = World::new(3);
        world.create("demo", UserSpec { quota_size: 100, ..spec("demo") });
        let account = world.state.user(&name("demo")).unwrap().account;
        let mut desk = Desk { world, account };
        desk.say(AccountCommand::Inspected(Inspected { account, found: Amount::ZERO, uncounted: false })).unwrap();
        desk.world.open(1, "demo").unwrap();
        desk.world.open(2, "demo").unwrap();
        desk
    }
    fn say(&mut self, command: AccountCommand) -> Reply {
        self.world.run(Command::Account(command))
    }
    fn as_node(&mut self, node: u64, command: AccountCommand) -> Reply {
        let id = self.world.id(node);
        self.world.run_as(id, Command::Account(command))
    }
    fn row(&self) -> Account {
        Account::clone(self.world.state.account(self.account).unwrap())
    }
    fn holder(&self, node: u64) -> Holder {
        self.row().holders[&(NodeId(node), self.world.epoch(node))].clone()
    }
    fn ask(&mut self, node: u64, need: i64, ahead: i64) -> Reply {
        self.ask_holding(node, need, ahead, None)
    }
    fn ask_holding(&mut self, node: u64, need: i64, ahead: i64, held: Option<(i64, UploadOrder)>) -> Reply {
        let incarnation = self.world.state.user(&name("demo")).unwrap().incarnation;
        let grant = Grant {
            account: self.account,
            username: name("demo"),
            incarnation,
            need: bytes(need),
            ahead: bytes(ahead),
            holds: bytes(held.map_or(0, |held| held.0)),
            order: held.map(|held| held.1),
        };
        self.as_node(node, AccountCommand::Grant(grant))
    }
    fn part(&self, node: u64) -> AccountSettlement {
        AccountSettlement { account: self.account, since: self.holder(node).since, ..AccountSettlement::default() }
    }
    fn settle(&mut self, node: u64, part: AccountSettlement) {
        self.as_node(node, AccountCommand::Settle(Settle { accounts: vec![part] })).unwrap();
    }
    fn answer(&mut self, node: u64, returned: i64) {
        self.answer_with(node, returned, Vec::new());
    }
    fn answer_with(&mut self, node: u64, returned: i64, uploads: Vec<OpenUpload>) {
        let settlement = AccountSettlement { returned: vec![(LIMIT, bytes(returned))], ..self.part(node) };
        let begun = self.world.index;
        let answer = RecallAnswer { settlement, begun, uploads };
        self.as_node(node, AccountCommand::Answer(answer)).unwrap();
    }
    fn credit(&mut self, node: u64, inode: u64, amount: i64, measured: LogIndex) {
        let inode = CreditedInode { inode, birth_ns: 1 };
        let credits = vec![CreditItem { amount: bytes(amount), inode, measured }];
        let part = AccountSettlement { credits, ..self.part(node) };
        self.settle(node, part);
    }
}

fn granted(reply: Reply) -> i64 {
    match reply {
        Ok(Done::Account(AccountDone::Granted { amount, .. })) => amount.bytes,
        other => panic!("not granted: {other:?}"),
    }
}

#[test]
fn room_is_granted_to_the_last_byte_and_no_further() {
    let mut desk = Desk::new();
    assert_eq!(granted(desk.ask(1, 60, 1000)), 100);
    assert_eq!(desk.ask(2, 1, 0), Ok(Done::Account(AccountDone::Waiting)));
    desk.answer(1, 40);
    let row = desk.row();
    let waiter = row.waiters.values().next().unwrap();
    assert!(matches!(waiter.state, WaiterState::Granted { limits: LIMIT, .. }), "{waiter:?}");
    assert_eq!(row.taken(), bytes(61));
}

#[test]
fn a_refusal_needs_an_answer_of_every_holder_begun_after_the_ask() {
    let mut desk = Desk::new();
    granted(desk.ask(1, 100, 0));
    desk.ask(2, 1, 0).unwrap();
    desk.answer(2, 0);
    let waiting = |desk: &Desk| desk.row().has_waiting();
    assert!(waiting(&desk), "node 1 has not answered");
    desk.answer(1, 0);
    let row = desk.row();
    let WaiterState::Refused(shortage) = &row.waiters.values().next().unwrap().state else { panic!("{row:?}") };
    assert_eq!((shortage.in_use, shortage.used, shortage.dead), (bytes(100), Amount::ZERO, Amount::ZERO));
    assert!(shortage.to_string().contains("1 more bytes do not fit into 100: 0 taken, 100 in use"), "{shortage}");
}

#[test]
fn an_answer_that_began_before_its_nodes_last_grant_does_not_count() {
    let mut desk = Desk::new();
    granted(desk.ask(1, 90, 0));
    desk.ask(2, 20, 0).unwrap();
    desk.answer(1, 0);
    assert_eq!(granted(desk.ask(1, 5, 0)), 5);
    desk.answer(2, 0);
    assert!(desk.row().has_waiting(), "node 1 was granted since it answered: it may hold what it got");
    desk.answer(1, 0);
    assert!(!desk.row().has_waiting());
}

#[test]
fn nobody_is_refused_while_a_failed_upload_holds_room_that_comes_back() {
    let mut desk = Desk::new();
    desk.world.open(3, "demo").unwrap();
    granted(desk.ask(1, 60, 0));
    granted(desk.ask(2, 40, 0));
    let order = UploadOrder { grant: desk.world.index, node: NodeId(2), number: 1 };
    desk.ask_holding(2, 10, 0, Some((40, order))).unwrap();
    for node in 1..=3 {
        desk.answer(node, 0);
    }
    let (refused, waiter) = desk.row().waiters.into_iter().next().unwrap();
    assert!(matches!(waiter.state, WaiterState::Refused(_)), "nothing younger holds room");
    desk.ask(3, 30, 0).unwrap();
    for node in 1..=3 {
        desk.answer(node, 0);
    }
    assert!(desk.row().has_waiting(), "what node 2's refused upload holds comes back");
    let returned = vec![(LIMIT, bytes(40))];
    let part = AccountSettlement { returned, seen: vec![refused.number], ..desk.part(2) };
    desk.settle(2, part);
    let row = desk.row();
    assert!(matches!(row.waiters.values().next().unwrap().state, WaiterState::Granted { .. }), "{row:?}");
}

/// Node 1's upload is older than node 2's; together they take all.
fn two_uploads(desk: &mut Desk) -> [OpenUpload; 2] {
    [(1, 60), (2, 40)].map(|(node, room)| {
        granted(desk.ask(node, room, 0));
        let order = UploadOrder { grant: desk.world.index, node: NodeId(node), number: 1 };
        OpenUpload { order, room: bytes(room), failed: false }
    })
}

#[test]
fn an_older_upload_waits_while_a_younger_one_holds_room() {
    let mut desk = Desk::new();
    let [older, younger] = two_uploads(&mut desk);
    desk.ask_holding(1, 10, 0, Some((60, older.order))).unwrap();
    desk.answer_with(1, 0, vec![older]);
    desk.answer_with(2, 0, vec![younger]);
    assert!(desk.row().has_waiting());
    let part = AccountSettlement { spent: vec![(LIMIT, bytes(40))], ..desk.part(2) };
    desk.settle(2, part);
    desk.answer(2, 0);
    let state = desk.row().waiters.into_values().next().unwrap().state;
    assert!(matches!(state, WaiterState::Refused(_)), "the younger one is published: its room is taken");
}

#[test]
fn of_two_that_wait_the_younger_is_refused_and_the_older_gets_its_room() {
    let mut desk = Desk::new();
    let [older, younger] = two_uploads(&mut desk);
    desk.ask_holding(1, 10, 0, Some((60, older.order))).unwrap();
    desk.ask_holding(2, 10, 0, Some((40, younger.order))).unwrap();
    desk.answer_with(1, 0, vec![older]);
    desk.answer_with(2, 0, vec![younger]);
    let waiters: Vec<(WaiterId, Waiter)> = desk.row().waiters.into_iter().collect();
    assert_eq!(waiters[0].1.state, WaiterState::Waiting);
    assert!(matches!(waiters[1].1.state, WaiterState::Refused(_)));
    let (returned, seen) = (vec![(LIMIT, bytes(40))], vec![waiters[1].0.number]);
    let part = AccountSettlement { returned, seen, ..desk.part(2) };
    desk.settle(2, part);
    assert!(matches!(desk.row().waiters[&waiters[0].0].state, WaiterState::Granted { .. }));
}

#[test]
fn a_new_limit_gives_nothing_before_every_holder_confirmed() {
    let mut desk = Desk::new();
    let quota = |quota_size| UserPatch { quota_size: Some(quota_size), ..UserPatch::default() };
    desk.world.update("demo", quota(0)).unwrap();
    desk.world.update("demo", quota(100)).unwrap();
    let limited_since = desk.row().limited_since;
    assert_eq!(desk.ask(1, 10, 0), Ok(Done::Account(AccountDone::Waiting)));
    for (node, reported) in [(1, 0), (2, 70)] {
        assert!(desk.row().has_waiting());
        let settlement = AccountSettlement { reported: bytes(reported), ..desk.part(node) };
        let confirm = ConfirmLimited { settlement, limited_since, held: bytes(reported / 7) };
        desk.as_node(node, AccountCommand::Confirm(confirm)).unwrap();
    }
    assert!(matches!(desk.row().waiters.values().next().unwrap().state, WaiterState::Granted { .. }));
    assert_eq!(desk.row().taken(), bytes(70 + 10 + 10));
}

#[test]
fn a_waiter_does_not_wait_for_a_node_whose_epoch_ended() {
    let mut desk = Desk::new();
    granted(desk.ask(1, 100, 0));
    desk.ask(2, 1, 0).unwrap();
    desk.answer(2, 0);
    desk.world.expire(1).unwrap();
    let (account, number) = (desk.account, 3);
    let word = WaitOver { account, number, time_over: false, buffer_full: false, gone: false };
    desk.as_node(2, AccountCommand::WaitOver(word)).unwrap();
    let row = desk.row();
    let WaiterState::Refused(shortage) = &row.waiters.values().next().unwrap().state else { panic!("{row:?}") };
    assert_eq!(shortage.dead, bytes(100));
}

#[test]
fn while_one_waits_nothing_is_granted_ahead() {
    let mut desk = Desk::new();
    granted(desk.ask(1, 90, 0));
    desk.ask(2, 20, 0).unwrap();
    assert_eq!(granted(desk.ask(1, 0, 10)), 0);
    assert_eq!(granted(desk.ask(1, 5, 10)), 5, "a need that fits beside those that wait is given");
}

#[test]
fn an_inode_is_credited_once_until_every_holder_has_settled_past_it() {
    let mut desk = Desk::new();
    granted(desk.ask(1, 50, 0));
    let part = AccountSettlement { spent: vec![(LIMIT, bytes(50))], ..desk.part(1) };
    desk.settle(1, part);
    let measured = desk.world.index;
    desk.credit(1, 7, 20, measured);
    desk.credit(2, 7, 20, measured);
    assert_eq!(desk.row().used, bytes(30), "two nodes caught the same inode");
    let credited_at = desk.world.index;
    for node in [1, 2] {
        let part = AccountSettlement { settled_through: credited_at, ..desk.part(node) };
        desk.settle(node, part);
    }
    assert!(desk.row().credited.is_empty());
    desk.credit(2, 7, 20, desk.world.index);
    assert_eq!(desk.row().used, bytes(10), "the number was used again for another file");
}

#[test]
fn an_unsettled_dead_epoch_keeps_the_names_of_credited_inodes() {
    let mut desk = Desk::new();
    granted(desk.ask(1, 50, 0));
    let part = AccountSettlement { spent: vec![(LIMIT, bytes(50))], ..desk.part(1) };
    desk.settle(1, part);
    let (measured, since, epoch) = (desk.world.index, desk.holder(2).since, desk.world.epoch(2));
    desk.world.expire(2).unwrap();
    desk.credit(1, 7, 20, measured);
    let part = AccountSettlement { settled_through: desk.world.index, ..desk.part(1) };
    desk.settle(1, part);
    let credits = vec![CreditItem { amount: bytes(20), inode: CreditedInode { inode: 7, birth_ns: 1 }, measured }];
    let late =
        SettleDead { account: desk.account, node: NodeId(2), epoch, since, total: Amount::ZERO, credits, mark: false };
    desk.say(AccountCommand::SettleDead(late)).unwrap();
    assert_eq!(desk.row().used, bytes(30));
}

#[test]
fn an_epoch_that_lost_count_is_counted_for_all_that_it_was_granted_until_a_scan() {
    for (total, used) in [(bytes(40), bytes(40)), (bytes(10), bytes(50))] {
        let mut desk = Desk::new();
        granted(desk.ask(2, 50, 0));
        let part = AccountSettlement { spent: vec![(LIMIT, bytes(30))], ..desk.part(2) };
        desk.settle(2, part);
        let (account, node, epoch, since) = (desk.account, NodeId(2), desk.world.epoch(2), desk.holder(2).since);
        desk.world.expire(2).unwrap();
        let late = SettleDead { account, node, epoch, since, total, credits: Vec::new(), mark: false };
        desk.say(AccountCommand::SettleDead(late)).unwrap();
        assert_eq!((desk.row().used, desk.row().marked), (used, total < bytes(30)), "a total of {total:?}");
        invariant::check_all(&desk.world.state).unwrap();
    }
}

#[test]
fn a_credit_measured_before_a_scan_is_dropped() {
    let mut desk = Desk::new();
    let measured = desk.world.index;
    let sessions: Vec<SessionId> = desk.world.state.live_sessions().map(|session| session.id).collect();
    for session in sessions {
        desk.world.close(session).unwrap();
    }
    let begin =
        ScanBegin { account: desk.account, node: NodeId(1), epoch: desk.world.epoch(1), force: false, live: false };
    let Ok(Done::Account(AccountDone::ScanBegun { begun })) = desk.say(AccountCommand::ScanBegin(begin)) else {
        panic!("not begun")
    };
    let commit = ScanCommit { account: desk.account, begun, found: bytes(30) };
    desk.say(AccountCommand::ScanCommit(commit)).unwrap();
    desk.world.open(1, "demo").unwrap();
    desk.credit(1, 7, 20, measured);
    assert_eq!((desk.row().used, desk.row().marked), (bytes(30), true), "it may be counted still");
}

#[test]
fn a_scan_is_refused_when_a_session_came_and_went_since_it_began() {
    let mut desk = Desk::new();
    let begin = |desk: &Desk| {
        AccountCommand::ScanBegin(ScanBegin {
            account: desk.account,
            node: NodeId(3),
            epoch: desk.world.epoch(3),
            force: false,
            live: false,
        })
    };
    let command = begin(&desk);
    assert_eq!(desk.say(command), Err(Refusal::Account(AccountRefusal::InUse)));
    let sessions: Vec<SessionId> = desk.world.state.live_sessions().map(|session| session.id).collect();
    for session in sessions {
        desk.world.close(session).unwrap();
    }
    let command = begin(&desk);
    let Ok(Done::Account(AccountDone::ScanBegun { begun })) = desk.say(command) else { panic!("not begun") };
    let session = desk.world.open(1, "demo").unwrap();
    desk.world.close(session).unwrap();
    let commit = ScanCommit { account: desk.account, begun, found: bytes(1) };
    assert_eq!(desk.say(AccountCommand::ScanCommit(commit)), Err(Refusal::Account(AccountRefusal::ScanOvertaken)));
}

#[test]
fn a_scan_waits_for_fences_and_for_processes_that_may_still_write() {
    let mut desk = Desk::new();
    granted(desk.ask(1, 10, 0));
    let (one, two) = (desk.world.epoch(1), desk.world.epoch(2));
    desk.world.expire(1).unwrap();
    desk.world.expire(2).unwrap();
    let begin =
        ScanBegin { account: desk.account, node: NodeId(3), epoch: desk.world.epoch(3), force: false, live: false };
    let may_write = Refusal::Account(AccountRefusal::MayStillWrite { node: NodeId(1), epoch: one });
    assert_eq!(desk.say(AccountCommand::ScanBegin(begin.clone())), Err(may_write));
    let forced = ScanBegin { force: true, ..begin.clone() };
    let unfenced = Refusal::Account(AccountRefusal::Unfenced { node: NodeId(1), epoch: one });
    assert_eq!(desk.say(AccountCommand::ScanBegin(forced)), Err(unfenced));
    for (node, epoch) in [(1, one), (2, two)] {
        let account = desk.account;
        desk.say(AccountCommand::Fenced(Fenced { account, node: NodeId(node), epoch })).unwrap();
        desk.world.register(node);
    }
    assert_eq!(desk.row().taken(), bytes(10), "fencing gives nothing back");
    desk.say(AccountCommand::ScanBegin(begin)).unwrap();
}

#[test]
fn a_dead_epoch_without_a_limit_marks_and_stops_grants_once_there_is_one() {
    let mut desk = Desk::new();
    let patch = UserPatch { quota_size: Some(0), ..UserPatch::default() };
    desk.world.update("demo", patch).unwrap();
    desk.world.expire(2).unwrap();
    let patch = UserPatch { quota_size: Some(100), ..UserPatch::default() };
    desk.world.update("demo", patch).unwrap();
    assert!(desk.world.state.wants_scan(&desk.row()) && desk.world.state.account_is_uncertain(&desk.row()));
    desk.ask(1, 1, 0).unwrap();
    let row = desk.row();
    let WaiterState::Refused(shortage) = &row.waiters.values().next().unwrap().state else { panic!("{row:?}") };
    assert!(shortage.uncertain && shortage.to_string().contains("scan"), "{shortage}");
}

#[test]
fn a_lowered_limit_recalls_and_names_the_nodes_that_hold_the_account() {
    let mut desk = Desk::new();
    granted(desk.ask(1, 10, 50));
    let patch = UserPatch { quota_size: Some(20), ..UserPatch::default() };
    let reply = desk.world.update("demo", patch);
    let revision = desk.world.index;
    assert_eq!(reply, Ok(Done::Revoked { revision, nodes: vec![NodeId(1), NodeId(2)] }));
    assert_eq!(desk.row().recall, revision);
    assert_eq!(desk.ask(2, 1, 0), Ok(Done::Account(AccountDone::Waiting)), "60 are out under the old limit");
    desk.answer(1, 50);
    assert!(matches!(desk.row().waiters.values().next().unwrap().state, WaiterState::Granted { .. }));
}

#[test]
fn an_empty_file_fits_where_a_lowered_limit_of_bytes_is_exceeded_already() {
    let mut desk = Desk::new();
    granted(desk.ask(1, 60, 0));
    let part = AccountSettlement { spent: vec![(LIMIT, bytes(60))], ..desk.part(1) };
    desk.settle(1, part);
    let patch = UserPatch { quota_size: Some(20), quota_files: Some(5), ..UserPatch::default() };
    desk.world.update("demo", patch).unwrap();
    let incarnation = desk.world.state.user(&name("demo")).unwrap().incarnation;
    let grant = Grant {
        account: desk.account,
        username: name("demo"),
        incarnation,
        need: Amount::new(0, 1),
        ahead: Amount::ZERO,
        holds: Amount::ZERO,
        order: None,
    };
    let reply = desk.as_node(1, AccountCommand::Grant(grant));
    let Ok(Done::Account(AccountDone::Granted { amount, .. })) = reply else { panic!("not granted: {reply:?}") };
    assert_eq!((amount, desk.row().taken()), (Amount::new(0, 1), Amount::new(60, 1)));
    invariant::check_all(&desk.world.state).unwrap();
}

#[test]
fn absurd_and_negative_amounts_never_fit_and_overflow_nothing() {
    let mut desk = Desk::new();
    let absurd = Amount::of(u64::MAX, u64::MAX);
    assert_eq!((absurd + absurd, absurd - -absurd), (absurd, absurd), "they saturate");
    assert_eq!(desk.ask(1, i64::MAX, i64::MAX), Ok(Done::Account(AccountDone::Waiting)));
    let negative = Err(Refusal::Account(AccountRefusal::Negative));
    assert_eq!(desk.ask(1, -1, 0), negative);
    assert_eq!(desk.ask(1, 0, -1), negative);
    let spent = AccountSettlement { spent: vec![(LIMIT, bytes(-5))], ..desk.part(1) };
    assert_eq!(desk.as_node(1, AccountCommand::Settle(Settle { accounts: vec![spent] })), negative);
    assert!(desk.row().taken().fits(bytes(100)));
}
