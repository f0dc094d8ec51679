//! A fixed script of commands and the state's hash behind each: a change of what apply does is seen here, at the step where it begins.

use std::fmt::Write as _;

use flotilla_model::command::*;
use flotilla_model::*;

use super::hold_against_golden;
use crate::world::*;

/// Notes the hash behind each step.
struct Script {
    world: World,
    hashes: String,
}

impl Script {
    fn note(&mut self, step: &str) {
        let hash = self.world.state.hash();
        let short = hash[..8].iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        writeln!(self.hashes, "{:>3} {short} {step}", self.world.index).unwrap();
    }

    fn node(&mut self, step: &str, node: u64, command: AccountCommand) -> Reply {
        let id = self.world.id(node);
        let reply = self.world.run_as(id, Command::Account(command));
        self.note(step);
        reply
    }

    fn log(&mut self, step: &str, command: Command) -> Reply {
        let reply = self.world.run(command);
        self.note(step);
        reply
    }

    fn account(&mut self, step: &str, command: AccountCommand) -> Reply {
        self.log(step, Command::Account(command))
    }

    fn id(&self) -> AccountId {
        self.world.state.user(&name("demo")).unwrap().account
    }

    fn since(&self, node: u64) -> LogIndex {
        let row = self.world.state.account(self.id()).unwrap();
        row.holders[&(NodeId(node), self.world.epoch(node))].since
    }

    fn part(&self, node: u64) -> AccountSettlement {
        AccountSettlement { account: self.id(), since: self.since(node), ..AccountSettlement::default() }
    }

    fn ask(&mut self, step: &str, node: u64, need: i64, ahead: i64) -> Reply {
        let incarnation = self.world.state.user(&name("demo")).unwrap().incarnation;
        let (need, ahead) = (Amount::new(need, 1), Amount::new(ahead, 4));
        let (account, username, holds) = (self.id(), name("demo"), Amount::ZERO);
        self.node(
            step,
            node,
            AccountCommand::Grant(Grant { account, username, incarnation, need, ahead, holds, order: None }),
        )
    }
}

const LIMITS: Limits = Limits { bytes: 1000, files: 50 };

fn users_and_sessions(script: &mut Script) -> Vec<SessionId> {
    let quota = UserSpec { quota_size: 1000, quota_files: 50, max_sessions: 3, ..spec("demo") };
    let create = |username: &str, spec| Command::CreateUser(CreateUser { username: name(username), spec });
    script.log("create demo", create("demo", quota)).unwrap();
    script.log("create free", create("free", spec("free"))).unwrap();
    let inspected = Inspected { account: script.id(), found: Amount::new(10, 1), uncounted: false };
    script.account("inspected", AccountCommand::Inspected(inspected)).unwrap();
    let mut sessions = Vec::new();
    for node in [1, 2, 2] {
        sessions.push(script.world.open(node, "demo").unwrap());
        script.note("open demo");
    }
    script.world.open(3, "demo").unwrap_err();
    script.note("refused open");
    script.world.open(3, "free").unwrap();
    script.note("open free");
    sessions
}

fn grants_and_shortage(script: &mut Script) {
    script.ask("grant", 1, 300, 400).unwrap();
    script.ask("grant", 2, 100, 0).unwrap();
    script.ask("waiting", 2, 600, 0).unwrap();
    for (node, returned) in [(1, 20), (2, 0)] {
        let settlement = AccountSettlement { returned: vec![(LIMITS, Amount::new(returned, 0))], ..script.part(node) };
        let begun = script.world.index;
        let answer = RecallAnswer { settlement, begun, uploads: Vec::new() };
        script.node("answer", node, AccountCommand::Answer(answer)).unwrap();
    }
    let over = WaitOver { account: script.id(), number: 4, time_over: true, buffer_full: false, gone: false };
    script.node("wait over", 2, AccountCommand::WaitOver(over)).unwrap();
    let credit = CreditItem {
        amount: Amount::new(50, 1),
        inode: CreditedInode { inode: 7, birth_ns: 1 },
        measured: script.world.index,
    };
    let part = AccountSettlement {
        spent: vec![(LIMITS, Amount::new(200, 1))],
        credits: vec![credit],
        settled_through: script.world.index,
        ..script.part(1)
    };
    script.node("settle", 1, AccountCommand::Settle(Settle { accounts: vec![part] })).unwrap();
}

fn limits_and_ends(script: &mut Script, sessions: &[SessionId]) {
    for (step, quota_size) in [("unlimited", 0), ("limited again", 900)] {
        let patch = UserPatch { quota_size: Some(quota_size), quota_files: Some(0), ..UserPatch::default() };
        let username = name("demo");
        script.log(step, Command::UpdateUser(UpdateUser { username, expected_revision: None, patch })).unwrap();
    }
    let limited_since = script.world.state.account(script.id()).unwrap().limited_since;
    for node in [1, 2] {
        let settlement = AccountSettlement { reported: Amount::new(5, 1), ..script.part(node) };
        let confirm = ConfirmLimited { settlement, limited_since, held: Amount::new(3, 0) };
        script.node("confirm", node, AccountCommand::Confirm(confirm)).unwrap();
    }
    let (account, epoch, since) = (script.id(), script.world.epoch(1), script.since(1));
    script.world.expire(1).unwrap();
    script.note("expire node 1");
    let settle_dead = SettleDead {
        account,
        node: NodeId(1),
        epoch,
        since,
        total: Amount::new(260, 3),
        credits: Vec::new(),
        mark: true,
    };
    script.account("settle dead", AccountCommand::SettleDead(settle_dead)).unwrap();
    script.account("fenced", AccountCommand::Fenced(Fenced { account, node: NodeId(1), epoch })).unwrap();
    let dead = script.world.epoch(2);
    script.world.close(sessions[1]).unwrap();
    script.note("close");
    script.world.register(2);
    script.note("register node 2 again");
    script.account("fenced", AccountCommand::Fenced(Fenced { account, node: NodeId(2), epoch: dead })).unwrap();
}

fn scan(script: &mut Script) {
    let account = script.id();
    script.account("want scan", AccountCommand::WantScan { account, force: false }).unwrap();
    let begin = ScanBegin { account, node: NodeId(3), epoch: script.world.epoch(3), force: false, live: false };
    script.account("scan begin", AccountCommand::ScanBegin(begin)).unwrap();
    let commit = ScanCommit { account, begun: script.world.index, found: Amount::new(444, 4) };
    script.account("scan commit", AccountCommand::ScanCommit(commit)).unwrap();
    live_scan(script);
    let delete = DeleteUser { username: name("demo"), expected_revision: None };
    script.log("delete demo", Command::DeleteUser(delete)).unwrap();
}

fn live_scan(script: &mut Script) {
    let account = script.id();
    let session = script.world.open(3, "demo").unwrap();
    script.note("open on node 3");
    let begin = ScanBegin { account, node: NodeId(2), epoch: script.world.epoch(2), force: false, live: true };
    script.account("live scan begin", AccountCommand::ScanBegin(begin)).unwrap();
    let begun = script.world.index;
    let word = |script: &Script| ScanWord { begun, settlement: script.part(3) };
    let confirm = AccountCommand::ScanConfirm(word(script));
    script.node("scan confirm", 3, confirm).unwrap();
    let walked = Walked { found: Amount::new(450, 5), staged: Amount::new(6, 1) };
    script.account("scan walked", AccountCommand::ScanWalked(ScanWalked { account, begun, walked })).unwrap();
    let report = AccountCommand::ScanReport(word(script));
    script.node("scan report", 3, report).unwrap();
    let give_up = ScanGiveUp { account, begun: script.world.index + 1, reason: "nobody answers".into() };
    script.account("scan given up", AccountCommand::ScanGiveUp(give_up)).unwrap();
    script.world.close(session).unwrap();
    script.note("close on node 3");
}

#[test]
fn a_fixed_script_leads_to_the_same_state() {
    let mut script = Script { world: World::new(3), hashes: String::new() };
    script.note("three nodes");
    let sessions = users_and_sessions(&mut script);
    grants_and_shortage(&mut script);
    limits_and_ends(&mut script, &sessions);
    scan(&mut script);
    invariant::check_all(&script.world.state).unwrap();
    hold_against_golden("hashes_v1.txt", &script.hashes, "what apply does has changed");
}
