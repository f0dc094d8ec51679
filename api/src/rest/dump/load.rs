//! `/loaddata`: all of a dump is checked before anything is written.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use flotilla_cluster::new_request_id;
use flotilla_model::{AdminSpec, FolderSpec, GroupSpec, Name, RecordKind, RequestId, RoleSpec, UserSpec, Username};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::VERSION;
use crate::access::Verb;
use crate::error::{ApiError, Code};
use crate::rest::json::UserBody;
use crate::rest::page::{Asked, Received, Sent, typed};
use crate::rest::records::{named, path};
use crate::rest::reply::{self, Answer, Message};
use crate::rest::shape::Shape;
use crate::rest::{Failed, Once};
use crate::service::progress::Loading;
use crate::service::{Caller, Changed, Service, both, union};

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case")]
pub(in crate::rest) struct LoadQuery {
    /// Not served: nodes read no files for callers.
    input_file: String,
    /// 0: what exists is replaced; 1: it is left alone; 2: it is replaced and its sessions are ended.
    mode: u8,
    /// 1: a scan of every user's quota is asked for.
    scan_quota: u8,
}

/// Everything that was read and checked, in the order in which it is written.
#[derive(Default)]
struct Loaded {
    roles: Vec<(Name, RoleSpec)>,
    folders: Vec<(Name, FolderSpec)>,
    groups: Vec<(Name, GroupSpec)>,
    users: Vec<(Username, UserSpec)>,
    admins: Vec<(Name, AdminSpec)>,
}

/// All of it is checked before anything is written. What exists is left alone or replaced, as `mode` says.
pub(in crate::rest) async fn load(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    once: Once,
    Asked(query): Asked<LoadQuery>,
    body: Result<Sent<LoadBody>, Failed>,
) -> Result<Answer<Message>, Failed> {
    caller.may(Verb::Load)?;
    if !query.input_file.is_empty() {
        let text = "input-file: nodes read no files for callers: send the dump as the body of a POST";
        return Err(ApiError::new(Code::Unsupported, text).into());
    }
    if query.mode > 2 || query.scan_quota > 2 {
        return Err(ApiError::invalid("mode, scan-quota: 0, 1 or 2").into());
    }
    let Sent(body) = body?;
    let (id, records) = (once.request_id.unwrap_or_else(new_request_id), body.rows() as u64);
    // Two ids a record, of which the cluster must remember all until the load ends, beside what else is asked meanwhile.
    if once.request_id.is_some() && records > MOST_UNDER_AN_ID {
        let text = format!(
            "Flotilla-Request-Id: {records} records are more than the {MOST_UNDER_AN_ID} that are loaded under a request id: split the \
             dump, or leave the header out"
        );
        return Err(ApiError::invalid(text).into());
    }
    if let Some(before) = service.loaded_before(id).await? {
        return Ok(reply::done(&before, RESTORED));
    }
    let loading = service.loads.begin(id, records);
    let done = write(&service, &caller, &loading, &query, body, once.request_id.is_some()).await;
    let noted = match done {
        Ok(done) => service.note_load(&caller, id, records).await.map(|noted| match done {
            Some(done) => noted.and(done),
            None => noted,
        }),
        Err(error) => Err(error),
    };
    // Its parts have ids of their own.
    let changed = noted.map_err(|error| ApiError { request_id: Some(id), ..error })?;
    Ok(reply::done(&changed, RESTORED))
}

const RESTORED: &str = "Data restored";
const MOST_UNDER_AN_ID: u64 = 2_000;

/// Reads all of it, then writes all of it. Under an id of the caller's (`numbered`) each record is written once, however often the load is tried again.
async fn write(
    service: &Service,
    caller: &Caller,
    loading: &Loading,
    query: &LoadQuery,
    body: LoadBody,
    numbered: bool,
) -> Result<Option<Changed>, ApiError> {
    let loaded = Loaded::read(service, loading, body).await?;
    let writer = Writer { service, caller, loading, only_new: query.mode == 1, numbered };
    let names: Vec<Username> = loaded.users.iter().map(|(name, _)| name.clone()).collect();
    let mut done = writer.kept(loaded.roles).await?;
    done = both(done, writer.kept(loaded.folders).await?);
    done = both(done, writer.kept(loaded.groups).await?);
    done = both(done, writer.users(loaded.users).await?);
    done = both(done, writer.kept(loaded.admins).await?);
    if query.mode == 2 {
        done = both(done, service.disconnect_users(caller, &names).await?);
    }
    if query.scan_quota == 1 {
        for name in &names {
            done = both(done, Some(service.want_scan(caller, None, name.as_str(), false).await?));
        }
    }
    Ok(done)
}

/// A dump: SFTPGo's or our own.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "DumpInput")]
pub(in crate::rest) struct LoadBody {
    #[schemars(with = "Option<Vec<UserBody>>")]
    users: Option<Vec<Value>>,
    #[schemars(with = "Option<Vec<<GroupSpec as Shape>::Body>>")]
    groups: Option<Vec<Value>>,
    #[schemars(with = "Option<Vec<<FolderSpec as Shape>::Body>>")]
    folders: Option<Vec<Value>>,
    #[schemars(with = "Option<Vec<<AdminSpec as Shape>::Body>>")]
    admins: Option<Vec<Value>>,
    #[schemars(with = "Option<Vec<<RoleSpec as Shape>::Body>>")]
    roles: Option<Vec<Value>>,
    /// Not served: empty.
    api_keys: Option<Vec<Value>>,
    /// Not served: empty.
    shares: Option<Vec<Value>>,
    /// Not served: empty.
    event_actions: Option<Vec<Value>>,
    /// Not served: empty.
    event_rules: Option<Vec<Value>>,
    /// Not served: empty.
    ip_lists: Option<Vec<Value>>,
    /// Ignored.
    configs: Value,
    /// SFTPGo's version of the form.
    #[schemars(range(max = 17))]
    version: Option<u64>,
    /// What the dump says of itself: ignored.
    left_out: Value,
}

impl LoadBody {
    /// Of the sections that are served.
    fn rows(&self) -> usize {
        let sections = [&self.users, &self.groups, &self.folders, &self.admins, &self.roles];
        sections.into_iter().flatten().map(Vec::len).sum()
    }
}

impl Received for LoadBody {
    /// SFTPGo's bound.
    const MOST: usize = 20 << 20;

    fn receive(body: Value) -> Result<Self, ApiError> {
        // A list would be taken for the fields in their order.
        if !body.is_object() {
            return Err(ApiError::invalid("body: not a JSON object"));
        }
        typed(body)
    }
}

impl Loaded {
    async fn read(service: &Service, loading: &Loading, body: LoadBody) -> Result<Loaded, ApiError> {
        let unserved = [
            ("api_keys", body.api_keys),
            ("shares", body.shares),
            ("event_actions", body.event_actions),
            ("event_rules", body.event_rules),
            ("ip_lists", body.ip_lists),
        ];
        for (section, rows) in unserved {
            if rows.is_some_and(|rows| !rows.is_empty()) {
                return Err(ApiError::field(section, "not served in this version: leave the section out"));
            }
        }
        if let Some(version) = body.version.filter(|version| *version > VERSION) {
            return Err(ApiError::field("version", format_args!("{version}: at most {VERSION} is read")));
        }
        Ok(Loaded {
            roles: kept_of(service, loading, body.roles).await?,
            folders: kept_of(service, loading, body.folders).await?,
            groups: kept_of(service, loading, body.groups).await?,
            users: users_of(service, loading, body.users).await?,
            admins: kept_of(service, loading, body.admins).await?,
        })
    }
}

fn in_row(section: &str, at: usize, error: ApiError) -> ApiError {
    ApiError { message: format!("{section}[{at}]: {}", error.message), ..error }
}

async fn kept_of<S: Shape>(
    service: &Service,
    loading: &Loading,
    rows: Option<Vec<Value>>,
) -> Result<Vec<(Name, S)>, ApiError> {
    let rows = rows.unwrap_or_default();
    let mut read = Vec::with_capacity(rows.len());
    for (at, row) in rows.into_iter().enumerate() {
        let of_row = |error| in_row(&path::<S>(), at, error);
        let body = S::Body::receive(row).map_err(of_row)?;
        let (name, spec) = S::spec(service, body).await.map_err(of_row)?;
        read.push((named::<S>(&name).map_err(of_row)?, spec));
        loading.checked_one();
    }
    Ok(read)
}

async fn users_of(
    service: &Service,
    loading: &Loading,
    rows: Option<Vec<Value>>,
) -> Result<Vec<(Username, UserSpec)>, ApiError> {
    let rows = rows.unwrap_or_default();
    let mut read = Vec::with_capacity(rows.len());
    for (at, row) in rows.into_iter().enumerate() {
        let of_row = |error| in_row("users", at, error);
        let body = UserBody::receive(row).map_err(of_row)?;
        let name = Username::parse(&body.username).map_err(|error| of_row(error.into()))?;
        let spec = service.spec(&name, body.into()).await.map_err(of_row)?;
        read.push((name, spec));
        loading.checked_one();
    }
    Ok(read)
}

/// Writes what was read, many at a time within a section.
struct Writer<'a> {
    service: &'a Service,
    caller: &'a Caller,
    loading: &'a Loading,
    only_new: bool,
    numbered: bool,
}

/// The ids of a row's creation and of its replacement, where the load has one.
type Ids = (Option<RequestId>, Option<RequestId>);

impl Writer<'_> {
    fn numbered<R>(&self, rows: Vec<R>) -> Vec<(Ids, R)> {
        let ids = || self.numbered.then(|| self.loading.next_ids()).unzip();
        rows.into_iter().map(|row| (ids(), row)).collect()
    }

    async fn kept<S: Shape>(&self, rows: Vec<(Name, S)>) -> Result<Option<Changed>, ApiError> {
        let write = async |((first, second), (name, spec)): (Ids, (Name, S))| {
            let made = self.service.create_record(self.caller, first, name.clone(), spec.clone()).await;
            let done = match made.map(|(changed, ..)| changed) {
                Err(error) if error.code == Code::AlreadyExists && self.only_new => Ok(None),
                Err(error) if error.code == Code::AlreadyExists => {
                    self.service.replace_record(self.caller, second, name.clone(), None, spec).await.map(Some)
                }
                made => made.map(Some),
            };
            self.loading.wrote_one();
            done.map_err(|error| written(S::KIND, name.as_str(), error))
        };
        union(self.numbered(rows), write).await
    }

    async fn users(&self, rows: Vec<(Username, UserSpec)>) -> Result<Option<Changed>, ApiError> {
        let write = async |((first, second), (name, spec)): (Ids, (Username, UserSpec))| {
            let made = self.service.create_user(self.caller, first, name.clone(), spec.clone()).await;
            let done = match made.map(|created| created.changed) {
                Err(error) if error.code == Code::AlreadyExists && self.only_new => Ok(None),
                Err(error) if error.code == Code::AlreadyExists => {
                    self.service.replace_user(self.caller, second, name.clone(), None, spec).await.map(Some)
                }
                made => made.map(Some),
            };
            self.loading.wrote_one();
            done.map_err(|error| written(RecordKind::User, name.as_str(), error))
        };
        union(self.numbered(rows), write).await
    }
}

fn written(kind: RecordKind, name: &str, error: ApiError) -> ApiError {
    let word = kind.word();
    let message = format!("{word} {name}: {} (what stands before it in the dump may be loaded already)", error.message);
    ApiError { message, definite: false, ..error }
}
