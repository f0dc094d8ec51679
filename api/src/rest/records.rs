//! `/admins`, `/groups`, `/folders`, `/roles`: the same five routes on four shapes.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use flotilla_model::{Kept, Name};

use super::page::{Page, Sent};
use super::reply::{Answer, Message, done};
use super::shape::Shape;
use super::{Failed, Marks};
use crate::error::ApiError;
use crate::service::{Caller, Service};

pub(super) async fn list<S: Shape>(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    page: Page,
) -> Result<Answer<Vec<S::Shown>>, Failed> {
    let (state, rows) = service.records::<S>(&caller, page.parts(), marks.stale).await?;
    Ok(Answer::at(state.applied_index(), rows.iter().map(|row| S::show(&caller, &state, row)).collect()))
}

pub(super) async fn get<S: Shape>(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    Path(name): Path<String>,
) -> Result<Answer<S::Shown>, Failed> {
    let (state, row): (_, Arc<Kept<S>>) = service.record(&caller, &name, marks.stale).await?;
    Ok(Answer::at(state.applied_index(), S::show(&caller, &state, &row)).revision(row.revision))
}

pub(super) async fn create<S: Shape>(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    Sent(body): Sent<S::Body>,
) -> Result<Answer<S::Shown, 201>, Failed> {
    let (name, spec) = S::spec(&service, body).await?;
    let name = named::<S>(&name)?;
    let (created, state, row) = service.create_record::<S>(&caller, marks.request_id, name.clone(), spec).await?;
    let answer = Answer::of(&created, S::show(&caller, &state, &row)).revision(row.revision);
    Ok(answer.header("location", &format!("/api/v2/{}/{name}", S::PATH)))
}

pub(super) async fn replace<S: Shape>(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    Path(name): Path<String>,
    Sent(body): Sent<S::Body>,
) -> Result<Answer<Message>, Failed> {
    let name = named::<S>(&name)?;
    let (given, spec) = S::spec(&service, body).await?;
    if !given.is_empty() && given != name.as_str() {
        return Err(ApiError::field(S::KEY, "it cannot be renamed").into());
    }
    let changed = service.replace_record::<S>(&caller, marks.request_id, name, marks.expected_revision, spec).await?;
    Ok(done(&changed, format!("{} updated", S::WORD)))
}

pub(super) async fn delete<S: Shape>(
    State(service): State<Arc<Service>>,
    Extension(caller): Extension<Caller>,
    marks: Marks,
    Path(name): Path<String>,
) -> Result<Answer<Message>, Failed> {
    let name = named::<S>(&name)?;
    let changed = service.delete_record::<S>(&caller, marks.request_id, name, marks.expected_revision).await?;
    Ok(done(&changed, format!("{} deleted", S::WORD)))
}

pub(super) fn named<S: Shape>(name: &str) -> Result<Name, ApiError> {
    Name::parse(name).map_err(|error| ApiError::field(S::KEY, error.reason))
}
