//! Indices say what the tables say.

use super::{Violation, holds};
use crate::State;
use crate::index::Indices;
use crate::table::Row;

/// Builds all indices anew and compares.
pub fn indices_agree(state: &State) -> Result<(), Violation> {
    let mut anew = Indices::default();
    state.accounts.rows().for_each(|row| anew.account(None, Some(row)));
    state.users.rows().for_each(|row| anew.user(None, Some(row)));
    state.sessions.rows().for_each(|row| anew.session(None, Some(row)));
    state.tokens.rows().for_each(|row| anew.token(None, Some(row)));
    state.admins.rows().for_each(|row| Row::index(&mut anew, None, Some(&**row)));
    state.groups.rows().for_each(|row| Row::index(&mut anew, None, Some(&**row)));
    let kept = &state.indices;
    let agree = |what: &'static str, same: bool| holds("indices_agree", same, || what.to_owned());
    agree("sessions by age", kept.sessions_by_age == anew.sessions_by_age)?;
    agree("slots", kept.slots == anew.slots)?;
    agree("accounts by root", kept.accounts_by_root == anew.accounts_by_root)?;
    agree("users by account", kept.users_by_account == anew.users_by_account)?;
    agree("account users", kept.account_users == anew.account_users)?;
    agree("users by role", kept.role_users == anew.role_users)?;
    agree("used roots", kept.used_roots == anew.used_roots)?;
    agree("limited roots", kept.limited_roots == anew.limited_roots)?;
    agree("referrers", kept.referrers == anew.referrers)?;
    agree("tokens by hash", kept.tokens_by_hash == anew.tokens_by_hash)?;
    agree("tokens by admin", kept.tokens_by_admin == anew.tokens_by_admin)?;
    let orphan = state.users.rows().find(|user| state.account_by_root(&user.home).is_none_or(|a| a.id != user.account));
    holds("indices_agree", orphan.is_none(), || format!("account of {:?}", orphan.map(|user| &user.username)))
}
