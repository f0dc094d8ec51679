//! `flotilla.admin.v1.Quotas`.

use std::sync::Arc;

use flotilla_proto::admin::v1;
use flotilla_proto::admin::v1::quotas_server::Quotas;
use tonic::{Request, Response, Status};

use super::Admin;
use super::progress::ProgressStream;
use super::reply::{answer, caller, is_stale, request_id, result};

#[tonic::async_trait]
impl Quotas for Admin {
    async fn get_quota(&self, request: Request<v1::GetQuotaRequest>) -> Result<Response<v1::GetQuotaResponse>, Status> {
        let caller = caller(&request)?;
        let v1::GetQuotaRequest { username, consistency } = request.into_inner();
        let (state, user, _) = self.service.quota(&caller, &username, is_stale(consistency)?).await?;
        let log_index = state.applied_index();
        Ok(answer(log_index, v1::GetQuotaResponse { quota: Some(self.service.shown_quota(&state, &user)), log_index }))
    }

    async fn scan_quota(
        &self,
        request: Request<v1::ScanQuotaRequest>,
    ) -> Result<Response<v1::ScanQuotaResponse>, Status> {
        let caller = caller(&request)?;
        let v1::ScanQuotaRequest { username, request_id: id, force } = request.into_inner();
        let changed = self.service.want_scan(&caller, request_id(&id)?, &username, force).await?;
        Ok(answer(changed.index, v1::ScanQuotaResponse { result: Some(result(&changed)) }))
    }

    type WatchScanStream = ProgressStream;

    async fn watch_scan(
        &self,
        request: Request<v1::WatchScanRequest>,
    ) -> Result<Response<Self::WatchScanStream>, Status> {
        let caller = caller(&request)?;
        let v1::WatchScanRequest { username, after_log_index } = request.into_inner();
        Ok(self.told(Arc::clone(&self.service).watch_scan(caller, &username, after_log_index).await?))
    }

    async fn list_scans(
        &self,
        request: Request<v1::ListScansRequest>,
    ) -> Result<Response<v1::ListScansResponse>, Status> {
        let (state, users) = self.service.scans(&caller(&request)?).await?;
        let quotas = users.iter().map(|user| self.service.shown_quota(&state, user)).collect();
        let log_index = state.applied_index();
        Ok(answer(log_index, v1::ListScansResponse { quotas, log_index }))
    }
}
