//! `/admins`, `/groups`, `/folders`, `/roles`: the same five routes on four shapes.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use flotilla_model::{Kept, Name};

use super::page::{Page, Sent};
use super::reply::{Answer, Message, done};
use super::shape::Shape;
use super::{Changing, Failed, Once, Reading};
use crate::error::ApiError;
use crate::service::{Caller, Service};

pub(super) async fn list<S: Shape>(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    reading: Reading,
    page: Page,
) -> Result<Answer<Vec<S::Shown>>, Failed> {
    let (state, rows) = service.records::<S>(&caller, page.parts(), reading.stale).await?;
    Ok(Answer::at(state.applied_index(), rows.iter().map(|row| S::show(&caller, &state, row)).collect()))
}

pub(super) async fn get<S: Shape>(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    reading: Reading,
    Path(name): Path<String>,
) -> Result<Answer<S::Shown>, Failed> {
    let (state, row): (_, Arc<Kept<S>>) = service.record(&caller, &name, reading.stale).await?;
    Ok(Answer::at(state.applied_index(), S::show(&caller, &state, &row)).revision(row.revision))
}

pub(super) async fn create<S: Shape>(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    once: Once,
    Sent(body): Sent<S::Body>,
) -> Result<Answer<S::Shown, 201>, Failed> {
    let (name, spec) = S::spec(&service, body).await?;
    let name = named::<S>(&name)?;
    let (created, state, row) = service.create_record::<S>(&caller, once.request_id, name.clone(), spec).await?;
    let answer = Answer::of(&created, S::show(&caller, &state, &row)).revision(row.revision);
    Ok(answer.header("location", &format!("/api/v2/{}/{name}", path::<S>())))
}

pub(super) async fn replace<S: Shape>(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    changing: Changing,
    Path(name): Path<String>,
    Sent(body): Sent<S::Body>,
) -> Result<Answer<Message>, Failed> {
    let name = named::<S>(&name)?;
    let (given, spec) = S::spec(&service, body).await?;
    if !given.is_empty() && given != name.as_str() {
        return Err(ApiError::field(S::KEY, "it cannot be renamed").into());
    }
    let changed =
        service.replace_record::<S>(&caller, changing.request_id, name, changing.expected_revision, spec).await?;
    Ok(done(&changed, format!("{} updated", titled::<S>())))
}

pub(super) async fn delete<S: Shape>(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    changing: Changing,
    Path(name): Path<String>,
) -> Result<Answer<Message>, Failed> {
    let name = named::<S>(&name)?;
    let changed = service.delete_record::<S>(&caller, changing.request_id, name, changing.expected_revision).await?;
    Ok(done(&changed, format!("{} deleted", titled::<S>())))
}

/// `admins`: in paths and in dumps.
pub(super) fn path<S: Shape>() -> String {
    format!("{}s", S::KIND.word())
}

/// `Admin`: as SFTPGo's answers begin.
fn titled<S: Shape>() -> String {
    let word = S::KIND.word();
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}

pub(super) fn named<S: Shape>(name: &str) -> Result<Name, ApiError> {
    Name::parse(name).map_err(|error| ApiError::field(S::KEY, error.reason))
}
