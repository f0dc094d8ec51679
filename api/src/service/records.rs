//! Admins, groups, folders and roles: list, read, create, replace, change, delete. One implementation for all kinds.

use std::sync::Arc;

use flotilla_model::command::{Delete, Expected, Put};
use flotilla_model::{
    AdminSpec, FolderSpec, GroupSpec, Kept, LogIndex, Name, RecordKind, Referrer, RequestId, RoleSpec, Spec, State,
    Status,
};

use super::users::MAX_PAGE;
use super::{Caller, Changed, Service, page, wall_ms};
use crate::access::{Act, Verb};
use crate::error::{ApiError, Code};

/// How often a partial change is tried on a record that others change.
const TRIES: usize = 5;

/// What the service layer asks of a kind beside what the model asks.
pub trait Administered: Spec {
    /// Whether the caller may make this of the record; `after` is `None` for its end.
    fn guard(_caller: &Caller, _name: &Name, _before: &Self, _after: Option<&Self>) -> Result<(), ApiError> {
        Ok(())
    }
}

impl Administered for GroupSpec {}
impl Administered for FolderSpec {}
impl Administered for RoleSpec {}

impl Administered for AdminSpec {
    /// Nobody locks themselves out.
    fn guard(caller: &Caller, name: &Name, before: &Self, after: Option<&Self>) -> Result<(), ApiError> {
        if caller.admin.as_ref() != Some(name) {
            return Ok(());
        }
        let why = match after {
            None => "you cannot delete yourself",
            Some(after) if after.status == Status::Disabled => "you cannot disable yourself",
            Some(after) if after.permissions != before.permissions => "you cannot change your own permissions",
            Some(after) if after.role != before.role => "you cannot change your own role",
            Some(_) => return Ok(()),
        };
        Err(ApiError::invalid(why))
    }
}

impl Service {
    pub async fn record<S: Administered>(
        &self,
        caller: &Caller,
        name: &str,
        stale: bool,
    ) -> Result<(Arc<State>, Arc<Kept<S>>), ApiError> {
        caller.may(Verb::Record(Act::Get, S::KIND))?;
        let name = Name::parse(name)?;
        let state = self.state(stale).await?;
        let row = state.kept::<S>(&name).cloned().ok_or_else(|| missing(S::KIND, &name).judged_by(&state))?;
        Ok((state, row))
    }

    /// In order of name, backwards if `descending`.
    pub async fn records<S: Administered>(
        &self,
        caller: &Caller,
        (offset, limit, descending): (usize, usize, bool),
        stale: bool,
    ) -> Result<(Arc<State>, Vec<Arc<Kept<S>>>), ApiError> {
        caller.may(Verb::Record(Act::List, S::KIND))?;
        let state = self.state(stale).await?;
        let (skip, take) = page(state.kept_count::<S>(), offset, limit.min(MAX_PAGE), descending);
        let mut rows: Vec<_> = state.kept_after::<S>(None).skip(skip).take(take).cloned().collect();
        if descending {
            rows.reverse();
        }
        Ok((state, rows))
    }

    /// In order of name after `after`, at most `limit`.
    pub async fn records_after<S: Administered>(
        &self,
        caller: &Caller,
        after: Option<&Name>,
        limit: usize,
        stale: bool,
    ) -> Result<(Arc<State>, Vec<Arc<Kept<S>>>), ApiError> {
        caller.may(Verb::Record(Act::List, S::KIND))?;
        let state = self.state(stale).await?;
        let rows = state.kept_after::<S>(after).take(limit).cloned().collect();
        Ok((state, rows))
    }

    pub async fn create_record<S: Administered>(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        name: Name,
        spec: S,
    ) -> Result<(Changed, Arc<State>, Arc<Kept<S>>), ApiError> {
        caller.may(Verb::Record(Act::Create, S::KIND))?;
        let put = Put { name: name.clone(), expected: Expected::Absent, spec: spec.clone() };
        let changed = self.change(caller, id, S::put(put)).await?;
        let state = self.local_state();
        let there = state.kept::<S>(&name).map(|row| (row.incarnation, Arc::clone(row)));
        let called = format!("{} {name}", S::KIND.word());
        let now = wall_ms();
        let as_made =
            |at| Arc::new(Kept { name, incarnation: at, revision: at, created_at: now, updated_at: now, spec });
        let row = changed.record(there, as_made, &called)?;
        Ok((changed, state, row))
    }

    pub async fn replace_record<S: Administered>(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        name: Name,
        expected: Option<LogIndex>,
        spec: S,
    ) -> Result<Changed, ApiError> {
        caller.may(Verb::Record(Act::Update, S::KIND))?;
        let state = self.state(false).await?;
        if let Some(row) = state.kept::<S>(&name) {
            S::guard(caller, &name, &row.spec, Some(&spec))?;
        }
        self.change(caller, id, S::put(Put { name, expected: Expected::of(expected), spec })).await
    }

    /// Changes some fields on what is there, anew if somebody else changed the record meanwhile.
    pub async fn edit_record<S: Administered>(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        name: &Name,
        expected: Option<LogIndex>,
        edit: impl Fn(&mut S) -> Result<(), ApiError>,
    ) -> Result<Changed, ApiError> {
        caller.may(Verb::Record(Act::Update, S::KIND))?;
        let mut id = id;
        let mut last = None;
        for _ in 0..TRIES {
            let state = self.state(false).await?;
            let row = state.kept::<S>(name).ok_or_else(|| missing(S::KIND, name).judged_by(&state))?;
            let mut spec = row.spec.clone();
            edit(&mut spec)?;
            S::guard(caller, name, &row.spec, Some(&spec))?;
            let put = Put { name: name.clone(), expected: Expected::of(expected.or(Some(row.revision))), spec };
            match self.change(caller, id, S::put(put)).await {
                // The refusal stands under that id.
                Err(error) if error.code == Code::RevisionMismatch && expected.is_none() => {
                    id = None;
                    last = Some(error);
                }
                answer => return answer,
            }
        }
        Err(last.unwrap_or_else(|| ApiError::new(Code::Internal, "no try was made")))
    }

    pub async fn delete_record<S: Administered>(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        name: Name,
        expected_revision: Option<LogIndex>,
    ) -> Result<Changed, ApiError> {
        caller.may(Verb::Record(Act::Delete, S::KIND))?;
        let state = self.state(false).await?;
        if let Some(row) = state.kept::<S>(&name) {
            S::guard(caller, &name, &row.spec, None)?;
        }
        self.change(caller, id, S::delete(Delete { name, expected_revision })).await
    }
}

pub(crate) fn missing(kind: RecordKind, name: &Name) -> ApiError {
    ApiError::not_found(format!("{} {name} does not exist", kind.word().replace('_', " ")))
}

/// Names of the users that the caller may know of, of the admins and of the groups that name a record; at most so many together.
pub(crate) fn named_by(caller: &Caller, state: &State, kind: RecordKind, name: &Name) -> NamedBy {
    let mut by = NamedBy::default();
    let seen = |referrer: &&Referrer| match referrer {
        Referrer::User(name) => caller.role.is_none() || state.user(name).is_some_and(|user| caller.sees(user)),
        _ => true,
    };
    for referrer in state.referrers(kind, name).filter(seen).take(MAX_NAMED) {
        match referrer {
            Referrer::User(name) => by.users.push(name.to_string()),
            Referrer::Admin(name) => by.admins.push(name.to_string()),
            Referrer::Group(name) => by.groups.push(name.to_string()),
            Referrer::Folder(_) | Referrer::Role(_) => {}
        }
    }
    by
}

const MAX_NAMED: usize = 1000;

#[derive(Default)]
pub(crate) struct NamedBy {
    pub users: Vec<String>,
    pub admins: Vec<String>,
    pub groups: Vec<String>,
}
