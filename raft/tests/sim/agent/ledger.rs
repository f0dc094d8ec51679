//! A little of a node's ledger: it asks for room, spends a part, gives the rest back.

use std::sync::Arc;

use flotilla_cluster::Lease;
use flotilla_model::command::{AccountCommand, AccountSettlement, Grant, Inspected, Settle, WaitOver};
use flotilla_model::{Account, AccountDone, Amount, Command, CommandId, Done};
use flotilla_raft::testing::simulation::Core;

use super::Sessions;

impl Sessions {
    pub(super) async fn spend(self: Arc<Self>, core: Core, lease: Arc<Lease>) {
        let serving = self.serving();
        let Some((id, held)) = self.draw(|rng| rng.pick(&serving).cloned()) else { return };
        let state = core.shared.state();
        let Some(account) = state.session(id).and_then(|row| state.account(row.account)).cloned() else { return };
        if !account.inspected {
            return self.inspect(&core, &account).await;
        }
        let (need, ahead) = self.draw(|rng| (rng.between(1, 5_000), rng.below(5_000)));
        let number = lease.number();
        let grant = Grant {
            account: account.id,
            username: held.username,
            incarnation: held.incarnation,
            need: Amount::of(need, 1),
            ahead: Amount::of(ahead, 0),
            holds: Amount::ZERO,
            order: None,
        };
        let granted = self.submit(&core, &lease, number, Command::Account(AccountCommand::Grant(grant))).await;
        let command = match granted {
            Some(Ok(Done::Account(AccountDone::Granted { limits, amount, .. }))) if amount.is_positive() => {
                let state = core.shared.state();
                let holder = state.account(account.id).and_then(|row| row.holders.get(&(id.node, id.epoch)).cloned());
                let Some(holder) = holder else { return };
                let spent = Amount::of(amount.bytes as u64 / 2, amount.files as u64);
                let part = AccountSettlement {
                    account: account.id,
                    since: holder.since,
                    spent: vec![(limits, spent)],
                    returned: vec![(limits, amount - spent)],
                    settled_through: core.shared.applied_index(),
                    ..AccountSettlement::default()
                };
                AccountCommand::Settle(Settle { accounts: vec![part] })
            }
            Some(Ok(Done::Account(AccountDone::Waiting))) => {
                let CommandId::Node { number, .. } = number else { return };
                let account = account.id;
                AccountCommand::WaitOver(WaitOver { account, number, time_over: true, buffer_full: false, gone: true })
            }
            _ => return,
        };
        self.submit(&core, &lease, lease.number(), Command::Account(command)).await;
    }

    /// Nothing lay there: the account may give room from here on.
    async fn inspect(&self, core: &Core, account: &Account) {
        let command = Inspected { account: account.id, found: Amount::ZERO, uncounted: false };
        let command = Command::Account(AccountCommand::Inspected(command));
        let within = std::time::Duration::from_secs(1);
        let submitted = core.proposer.submit(CommandId::Unnumbered, "node", command, within).await;
        if let Ok(submitted) = submitted {
            self.oracle.acknowledged(self.node.0, CommandId::Unnumbered, submitted.index, &submitted.reply);
        }
    }
}
