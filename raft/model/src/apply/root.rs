//! Roots and accounts: no root contains, or lies in, the root of a limited account (`PROTOCOL.md` 4.1).

use imbl::OrdMap;

use super::Scope;
use crate::index::AccountUsers;
use crate::{Account, AccountId, Effect, Name, Refusal, Root, State, User, UserSpec, Username};

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
    let below = |roots: &'a OrdMap<Root, AccountId>| {
        inside(roots, root).take(2).map(|(other, account)| (other.clone(), *account))
    };
    above.chain(below(&state.indices.used_roots)).chain(below(&state.indices.limited_roots))
}

fn inside<'a>(roots: &'a OrdMap<Root, AccountId>, root: &'a Root) -> impl Iterator<Item = (&'a Root, &'a AccountId)> {
    roots.range(root.first_inside()..).take_while(|(other, _)| root.contains(other))
}

/// Homes inside one home that are looked at; more are refused.
const MOST_INSIDE: usize = 2_000;

/// Refuses a home that an admin with a role may not give: one that is, contains or lies in a home of users without that role, or
/// that lies nowhere in what is the role's own. Its own are the homes of its users, all that is inside them, and the folder of the
/// user's name at the top of a storage, which is where users live of whom nothing else is said.
pub(super) fn check_own(state: &State, role: &Name, username: &Username, home: &Root) -> Result<(), Refusal> {
    let refuse = |why: &str| Err(Refusal::HomeOfOthers { role: role.clone(), home: home.to_string(), why: why.into() });
    let used = |root: &Root| state.indices.used_roots.get(root).copied();
    let mut is_own = home.path() == username.as_str();
    if used(home).is_some_and(|account| is_shared(state, role, account)) {
        return refuse("it is the home of users whom you do not administer: give another folder");
    }
    is_own |= used(home).is_some();
    for account in home.ancestors().filter_map(|above| used(&above)) {
        if is_shared(state, role, account) {
            return refuse("it lies in the home of users whom you do not administer: give another folder");
        }
        is_own = true;
    }
    let mut inside = inside(&state.indices.used_roots, home);
    if inside.by_ref().take(MOST_INSIDE).any(|(_, account)| is_shared(state, role, *account)) {
        return refuse("it contains homes of users whom you do not administer: give another folder");
    }
    if inside.next().is_some() {
        return refuse("it contains too many homes to look at: an admin without a role can give it");
    }
    match is_own {
        true => Ok(()),
        false => refuse("give the folder of the user's name at the top of a storage, or one in a home of your users"),
    }
}

/// Whether somebody without the role lives there.
fn is_shared(state: &State, role: &Name, account: AccountId) -> bool {
    let all = state.indices.account_users.get(&account).map_or(0, |count| count.users);
    all > state.indices.role_users.get(&(account, role.clone())).copied().unwrap_or_default()
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
