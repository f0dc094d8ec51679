//! Roots and accounts: no root contains, or lies in, the root of a limited account (`PROTOCOL.md` 4.1).

use super::Scope;
use crate::index::AccountUsers;
use crate::{Account, AccountId, Effect, Refusal, Root, State, User, UserSpec};

/// Refuses a home that would overlap. `before` is the user's present row: what only that user brings about does not count.
pub(super) fn check(state: &State, before: Option<&User>, spec: &UserSpec) -> Result<(), Refusal> {
    let members = |account: &AccountId| others(state, before, *account);
    let same = state.indices.accounts_by_root.get(&spec.home).map(members).unwrap_or_default();
    let limited = spec.is_limited() || same.limited > 0;
    let in_the_way = |account: &AccountId| {
        let others = members(account);
        others.limited > 0 || (limited && others.users > 0)
    };
    match overlapping(state, &spec.home).find(|(_, account)| in_the_way(account)) {
        None => Ok(()),
        Some((other, _)) => Err(Refusal::RootOverlaps { root: spec.home.to_string(), other: other.to_string() }),
    }
}

/// Users of an account besides the one that is being changed.
fn others(state: &State, before: Option<&User>, account: AccountId) -> AccountUsers {
    let mut count = state.indices.account_users.get(&account).copied().unwrap_or_default();
    if let Some(user) = before.filter(|user| user.account == account) {
        count.users -= 1;
        count.limited -= u32::from(!user.limits().is_none());
    }
    count
}

/// Roots in use above and below a root. Below, the first few decide: any one in use is in the way of a limited account,
/// and of the limited ones the first is enough.
fn overlapping<'a>(state: &'a State, root: &'a Root) -> impl Iterator<Item = (Root, AccountId)> + 'a {
    let above = root.ancestors().filter_map(|above| {
        let account = *state.indices.accounts_by_root.get(&above)?;
        Some((above, account))
    });
    let below = |roots: &'a imbl::OrdMap<Root, AccountId>| {
        let inside = roots.range(root.first_inside()..).take_while(|(other, _)| root.contains(other));
        inside.take(2).map(|(other, account)| (other.clone(), *account))
    };
    above.chain(below(&state.indices.used_roots)).chain(below(&state.indices.limited_roots))
}

/// The account of a root, made at the first use.
pub(super) fn account(scope: &mut Scope<'_>, root: &Root) -> AccountId {
    if let Some(account) = scope.state.indices.accounts_by_root.get(root) {
        return *account;
    }
    let id = AccountId(scope.index.max(scope.state.meta.last_account.0 + 1));
    scope.state.meta.last_account = id;
    scope.put(Account::new(id, root.clone(), scope.index));
    scope.effect(Effect::Account(id));
    id
}
