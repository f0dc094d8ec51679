//! One sample of each command of accounts.

use flotilla_model::command::*;
use flotilla_model::*;

use crate::world::name;

const ACCOUNT: AccountId = AccountId(4);
const NODE: NodeId = NodeId(1);
const EPOCH: Epoch = Epoch(5);
const LIMITS: Limits = Limits { bytes: 10_485_760, files: i64::MAX };

fn settlement() -> AccountSettlement {
    AccountSettlement {
        account: ACCOUNT,
        since: 8,
        spent: vec![(LIMITS, Amount::new(4096, 1))],
        returned: vec![(Limits::NONE, Amount::new(7, 0))],
        reported: Amount::new(300, 2),
        credits: vec![credit()],
        settled_through: 20,
        mark: true,
        disturbed: true,
        seen: vec![3, 9],
    }
}

fn credit() -> CreditItem {
    CreditItem {
        amount: Amount::new(1024, 1),
        inode: CreditedInode { inode: 77, birth_ns: 1_700_000_000_000_000_000 },
        measured: 21,
    }
}

fn order() -> UploadOrder {
    UploadOrder { grant: 12, node: NODE, number: 2 }
}

pub(super) fn samples() -> Vec<(&'static str, Command)> {
    let (account, node, epoch) = (ACCOUNT, NODE, EPOCH);
    let grant = Grant {
        account,
        username: name("demo"),
        incarnation: 8,
        need: Amount::new(65_536, 1),
        ahead: Amount::new(1 << 20, 64),
        holds: Amount::new(512, 0),
        order: Some(order()),
    };
    let uploads = vec![OpenUpload { order: order(), room: Amount::new(512, 1), failed: false }];
    let wait_over = WaitOver { account, number: 6, time_over: true, buffer_full: false, gone: false };
    let confirm = ConfirmLimited { settlement: settlement(), limited_since: 30, held: Amount::new(11, 1) };
    let total = Amount::new(8192, 2);
    let settle_dead = SettleDead { account, node, epoch, since: 8, total, credits: vec![credit()], mark: false };
    let found = Amount::new(900, 3);
    let walked = Walked { found, staged: Amount::new(100, 1) };
    let commands = [
        ("grant", AccountCommand::Grant(grant)),
        ("settle", AccountCommand::Settle(Settle { accounts: vec![settlement(), AccountSettlement::default()] })),
        ("answer", AccountCommand::Answer(RecallAnswer { settlement: settlement(), begun: 22, uploads })),
        ("wait_over", AccountCommand::WaitOver(wait_over)),
        ("confirm", AccountCommand::Confirm(confirm)),
        ("settle_dead", AccountCommand::SettleDead(settle_dead)),
        ("fenced", AccountCommand::Fenced(Fenced { account, node, epoch })),
        ("inspected", AccountCommand::Inspected(Inspected { account, found, uncounted: false })),
        ("scan_begin", AccountCommand::ScanBegin(ScanBegin { account, node, epoch, force: true, live: true })),
        ("scan_commit", AccountCommand::ScanCommit(ScanCommit { account, begun: 40, found })),
        ("scan_confirm", AccountCommand::ScanConfirm(ScanWord { begun: 40, settlement: settlement() })),
        ("scan_walked", AccountCommand::ScanWalked(ScanWalked { account, begun: 40, walked })),
        ("scan_report", AccountCommand::ScanReport(ScanWord { begun: 40, settlement: settlement() })),
        ("scan_give_up", AccountCommand::ScanGiveUp(ScanGiveUp { account, begun: 40, reason: "late".into() })),
        ("want_scan", AccountCommand::WantScan { account, force: true }),
    ];
    commands.into_iter().map(|(verb, command)| (verb, Command::Account(command))).collect()
}
