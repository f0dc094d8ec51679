//! An account's row taken out to be changed, with what the rules need to know beside it.

use crate::event::Fact;
use crate::reply::{AccountDone, AccountRefusal};
use crate::{
    Account, AccountId, CommandId, Done, Effect, Epoch, Holder, Limits, LogIndex, NodeId, Refusal, Reply, State,
    Username, WallTime,
};

use super::{Scope, scan_live};

/// The node and epoch that speak, and the number of their command.
#[derive(Clone, Copy)]
pub(super) struct Sender {
    pub node: NodeId,
    pub epoch: Epoch,
    pub number: u64,
}

impl Sender {
    pub fn of(id: CommandId) -> Result<Self, Refusal> {
        match id {
            CommandId::Node { node, epoch, number, .. } => Ok(Sender { node, epoch, number }),
            _ => Err(Refusal::Account(AccountRefusal::Unnumbered)),
        }
    }
}

/// The row, and the state around it as it was.
pub(super) struct Sheet<'a> {
    pub row: Account,
    pub index: LogIndex,
    pub wall: WallTime,
    pub facts: Vec<Fact>,
    state: &'a State,
}

/// Changes an account's row, or leaves it as it was if the rule refuses. Removes it once it is nobody's home and nobody holds
/// anything of it; whoever has the root later gets a new one, which is counted or marked if the folder is not empty.
pub(super) fn edit(
    scope: &mut Scope<'_>,
    account: AccountId,
    rule: impl FnOnce(&mut Sheet<'_>) -> Result<AccountDone, AccountRefusal>,
) -> Reply {
    let row = scope.get::<Account>(&account).ok_or(Refusal::Account(AccountRefusal::NotFound))?;
    let (index, wall) = (scope.index, scope.wall);
    let mut sheet = Sheet { row: Account::clone(&row), index, wall, facts: Vec::new(), state: &*scope.state };
    let done = rule(&mut sheet).map_err(Refusal::Account)?;
    scan_live::advance(&mut sheet);
    let Sheet { row: mut changed, facts, .. } = sheet;
    let is_removed = changed.holders.is_empty() && scope.state.users_of_account(account).next().is_none();
    let removed = is_removed.then(|| Fact::AccountRemoved { account, root: changed.root.to_string() });
    if is_removed {
        scope.remove::<Account>(&account);
        scope.effect(Effect::Account(account));
    } else if changed != *row {
        changed.revision = scope.index;
        scope.put(changed);
        scope.effect(Effect::Account(account));
    }
    for fact in facts.into_iter().chain(removed) {
        scope.event(fact);
    }
    Ok(Done::Account(done))
}

impl Sheet<'_> {
    pub fn alive(&self, node: NodeId, epoch: Epoch) -> bool {
        self.state.epoch_alive(node, epoch)
    }

    pub fn state(&self) -> &State {
        self.state
    }

    /// The current limits of a user of this account; `None`: it is gone, made anew or has another home.
    pub fn limits_of(&self, username: &Username, incarnation: LogIndex) -> Option<Limits> {
        let user = self.state.user(username)?;
        (user.incarnation == incarnation && user.account == self.row.id).then(|| user.limits())
    }

    pub fn holder(&mut self, sender: Sender) -> Result<&mut Holder, AccountRefusal> {
        self.row.holders.get_mut(&(sender.node, sender.epoch)).ok_or(AccountRefusal::NoSession)
    }

    /// Holders whose epoch is alive.
    pub fn living(&self) -> impl Iterator<Item = (NodeId, &Holder)> {
        let alive = |key: &(NodeId, Epoch)| self.alive(key.0, key.1);
        self.row.holders.iter().filter(move |(key, _)| alive(key)).map(|(key, holder)| (key.0, holder))
    }

    pub fn mark(&mut self, reason: &str) {
        if !self.row.marked {
            self.row.marked = true;
            self.row.marked_wall = self.wall;
            self.facts.push(Fact::AccountMarked { account: self.row.id, reason: reason.into() });
        }
    }

    /// What is stored may be more than is counted.
    pub fn is_uncertain(&self) -> bool {
        self.state.account_is_uncertain(&self.row)
    }

    /// Forgets a holder that has nothing any more.
    pub fn drop_holder_if_empty(&mut self, node: NodeId, epoch: Epoch) {
        let key = (node, epoch);
        let Some(holder) = self.row.holders.get(&key) else { return };
        let over = if self.alive(node, epoch) {
            holder.sessions == 0 && holder.outstanding.values().all(|amount| amount.is_zero())
        } else {
            holder.settled && holder.fenced
        };
        if over {
            self.row.holders.remove(&key);
        }
    }
}
