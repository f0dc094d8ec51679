//! `/dumpdata` and `/loaddata`: all records in SFTPGo's form, with the hashes of their secrets, out and in.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use flotilla_model::{AdminSpec, FolderSpec, GroupSpec, Kept, Name, RoleSpec, User, UserSpec, Username};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::json::{UserBody, user as user_shown};
use super::page::{Asked, value, whole};
use super::records::named;
use super::reply::changed;
use super::shape::Shape;
use super::{Failed, Marks};
use crate::access::Verb;
use crate::error::{ApiError, Code};
use crate::service::{Caller, Changed, Service, both, union};

/// SFTPGo's bound on what is loaded.
pub(super) const MAX_LOAD: usize = 20 << 20;
/// The version of SFTPGo's form that is written; older ones are read.
const VERSION: u64 = 17;
/// Rows of one piece of a dump.
const PIECE: usize = 256;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct DumpQuery {
    output_data: String,
    output_file: String,
    scopes: String,
}

/// Made as it is sent: a million users are no body in memory.
pub(super) async fn dump(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    _marks: Marks,
    Asked(query): Asked<DumpQuery>,
) -> Result<Response, Failed> {
    caller.may(Verb::Dump)?;
    if query.output_data != "1" && query.output_data != "true" {
        let text = match query.output_file.as_str() {
            "" => "output-data: only 1 is served: the dump is the answer's body",
            _ => "output-file: nodes write no files for callers: use output-data=1",
        };
        return Err(ApiError::new(Code::Unsupported, text).into());
    }
    let state = service.state(false).await?;
    let index = state.applied_index();
    let wanted = |scope: &str| query.scopes.is_empty() || query.scopes.split(',').any(|asked| asked == scope);
    let mut whole = Map::new();
    let rows = |on: bool, rows: Vec<Value>| Value::Array(if on { rows } else { Vec::new() });
    whole.insert("groups".into(), rows(wanted("groups"), kept::<GroupSpec>(&caller, &state)));
    whole.insert("folders".into(), rows(wanted("folders"), kept::<FolderSpec>(&caller, &state)));
    let admins = state.kept_after::<AdminSpec>(None).map(|row| admin(&caller, &state, row)).collect();
    whole.insert("admins".into(), rows(wanted("admins"), admins));
    whole.insert("roles".into(), rows(wanted("roles"), kept::<RoleSpec>(&caller, &state)));
    for absent in ["api_keys", "shares", "event_actions", "event_rules", "ip_lists"] {
        whole.insert(absent.into(), json!([]));
    }
    whole.insert("configs".into(), json!({}));
    whole.insert("version".into(), json!(VERSION));
    let rest = Value::Object(whole).to_string();
    // `{"users":[` users `],` and what an object holds behind its brace.
    let tail = format!("],{}", &rest[1..]);
    let users = futures::stream::unfold((wanted("users"), None, true), move |(more, after, first)| {
        let piece = more.then(|| users(&service, &state, after.as_ref(), first));
        std::future::ready(piece.map(|(text, last)| (text, (last.is_some(), last, false))))
    });
    let pieces = futures::stream::once(std::future::ready("{\"users\":[".to_owned()))
        .chain(users)
        .chain(futures::stream::once(std::future::ready(tail)));
    let mut response = Response::new(Body::from_stream(pieces.map(Ok::<_, std::convert::Infallible>)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("flotilla-log-index", HeaderValue::from(index));
    Ok(response)
}

/// Users behind `after` as items of an array, and the last of them if there may be more.
fn users(
    service: &Service,
    state: &flotilla_model::State,
    after: Option<&Username>,
    first: bool,
) -> (String, Option<Username>) {
    let rows: Vec<&Arc<User>> = state.users_after(after).take(PIECE).collect();
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        if !(first && at == 0) {
            text.push(',');
        }
        let mut body = user_shown(service, row, state.account(row.account).map(Arc::as_ref));
        if let Some(hash) = &row.password_hash {
            body["password"] = json!(hash);
        }
        text.push_str(&body.to_string());
    }
    let last = rows.last().filter(|_| rows.len() == PIECE).map(|row| row.username.clone());
    (text, last)
}

fn kept<S: Shape>(caller: &Caller, state: &flotilla_model::State) -> Vec<Value> {
    state.kept_after::<S>(None).map(|row| S::show(caller, state, row)).collect()
}

fn admin(caller: &Caller, state: &flotilla_model::State, row: &Kept<AdminSpec>) -> Value {
    let mut body = AdminSpec::show(caller, state, row);
    if let Some(hash) = &row.spec.password_hash {
        body["password"] = json!(hash);
    }
    body
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct LoadQuery {
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
pub(super) async fn load(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    _marks: Marks,
    Asked(query): Asked<LoadQuery>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failed> {
    caller.may(Verb::Load)?;
    if !query.input_file.is_empty() {
        let text = "input-file: nodes read no files for callers: send the dump as the body of a POST";
        return Err(ApiError::new(Code::Unsupported, text).into());
    }
    if query.mode > 2 || query.scan_quota > 2 {
        return Err(ApiError::invalid("mode, scan-quota: 0, 1 or 2").into());
    }
    let loaded = Loaded::read(&service, value(&whole(body, "20 MiB")?)?).await?;
    let writer = Writer { service: &service, caller: &caller, only_new: query.mode == 1 };
    let names: Vec<Username> = loaded.users.iter().map(|(name, _)| name.clone()).collect();
    let mut done = writer.kept(loaded.roles).await?;
    done = both(done, writer.kept(loaded.folders).await?);
    done = both(done, writer.kept(loaded.groups).await?);
    done = both(done, writer.users(loaded.users).await?);
    done = both(done, writer.kept(loaded.admins).await?);
    if query.mode == 2 {
        done = both(done, service.disconnect_users(&caller, &names).await?);
    }
    if query.scan_quota == 1 {
        for name in &names {
            done = both(done, Some(service.want_scan(&caller, None, name.as_str(), false).await?));
        }
    }
    let body = json!({"message": "Data restored"});
    match done {
        Some(done) => Ok(changed(StatusCode::OK, &done, body)),
        None => Ok(super::reply::answer(StatusCode::OK, service.applied_index(), body)),
    }
}

impl Loaded {
    async fn read(service: &Service, body: Value) -> Result<Loaded, ApiError> {
        let Value::Object(mut body) = body else { return Err(ApiError::invalid("body: not a JSON object")) };
        let mut take = |section: &str| match body.remove(section) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(rows)) => Ok(rows),
            Some(_) => Err(ApiError::field(section, "not a list")),
        };
        let (roles, folders, groups) = (take("roles")?, take("folders")?, take("groups")?);
        let (users, admins) = (take("users")?, take("admins")?);
        for section in ["api_keys", "shares", "event_actions", "event_rules", "ip_lists"] {
            if !take(section)?.is_empty() {
                return Err(ApiError::field(section, "not served in this version: leave the section out"));
            }
        }
        body.remove("configs");
        match body.remove("version") {
            None | Some(Value::Null) => {}
            Some(version) if version.as_u64().is_some_and(|version| version <= VERSION) => {}
            Some(version) => {
                return Err(ApiError::field("version", format_args!("{version}: at most {VERSION} is read")));
            }
        }
        if let Some(unknown) = body.keys().next() {
            return Err(ApiError::field(unknown.clone(), "unknown section"));
        }
        Ok(Loaded {
            roles: kept_of(service, roles).await?,
            folders: kept_of(service, folders).await?,
            groups: kept_of(service, groups).await?,
            users: users_of(service, users).await?,
            admins: kept_of(service, admins).await?,
        })
    }
}

fn in_row(section: &str, at: usize, error: ApiError) -> ApiError {
    ApiError { message: format!("{section}[{at}]: {}", error.message), ..error }
}

async fn kept_of<S: Shape>(service: &Service, rows: Vec<Value>) -> Result<Vec<(Name, S)>, ApiError> {
    let mut read = Vec::with_capacity(rows.len());
    for (at, row) in rows.into_iter().enumerate() {
        let of_row = |error| in_row(S::PATH, at, error);
        let (name, spec) = S::read(service, row).await.map_err(of_row)?;
        read.push((named::<S>(&name).map_err(of_row)?, spec));
    }
    Ok(read)
}

async fn users_of(service: &Service, rows: Vec<Value>) -> Result<Vec<(Username, UserSpec)>, ApiError> {
    let mut read = Vec::with_capacity(rows.len());
    for (at, row) in rows.into_iter().enumerate() {
        let of_row = |error| in_row("users", at, error);
        let body = UserBody::read(row).map_err(of_row)?;
        let name = Username::parse(&body.username).map_err(|error| of_row(error.into()))?;
        let spec = service.spec(&name, body.into()).await.map_err(of_row)?;
        read.push((name, spec));
    }
    Ok(read)
}

/// Writes what was read, many at a time within a section.
struct Writer<'a> {
    service: &'a Service,
    caller: &'a Caller,
    only_new: bool,
}

impl Writer<'_> {
    async fn kept<S: Shape>(&self, rows: Vec<(Name, S)>) -> Result<Option<Changed>, ApiError> {
        let write = async |(name, spec): (Name, S)| {
            let made = self.service.create_record(self.caller, None, name.clone(), spec.clone()).await;
            let done = match made.map(|(changed, ..)| changed) {
                Err(error) if error.code == Code::AlreadyExists && self.only_new => return Ok(None),
                Err(error) if error.code == Code::AlreadyExists => {
                    self.service.replace_record(self.caller, None, name.clone(), None, spec).await
                }
                made => made,
            };
            done.map(Some).map_err(|error| written(S::KIND.word(), name.as_str(), error))
        };
        union(rows, write).await
    }

    async fn users(&self, rows: Vec<(Username, UserSpec)>) -> Result<Option<Changed>, ApiError> {
        let write = async |(name, spec): (Username, UserSpec)| {
            let made = self.service.create_user(self.caller, None, name.clone(), spec.clone()).await;
            let done = match made.map(|created| created.changed) {
                Err(error) if error.code == Code::AlreadyExists && self.only_new => return Ok(None),
                Err(error) if error.code == Code::AlreadyExists => {
                    self.service.replace_user(self.caller, None, name.clone(), None, spec).await
                }
                made => made,
            };
            done.map(Some).map_err(|error| written("user", name.as_str(), error))
        };
        union(rows, write).await
    }
}

fn written(word: &str, name: &str, error: ApiError) -> ApiError {
    let message = format!("{word} {name}: {} (what stands before it in the dump may be loaded already)", error.message);
    ApiError { message, definite: false, ..error }
}
