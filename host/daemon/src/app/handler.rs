//! Answers the requests of the socket.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cni_types::error::{CniError, code};
use hyper::StatusCode;

use super::{App, policies};
use crate::admin;
use crate::explain;
use crate::log::LEVELS;
use crate::response;
use crate::server::Handler;

#[async_trait]
impl Handler for App {
    async fn cni(&self, body: Bytes) -> (StatusCode, Vec<u8>) {
        response::respond(self.pipeline.handle(&body).await)
    }

    fn answered(&self, handler: &'static str, method: &'static str, status: StatusCode) {
        self.metrics.http(handler, method, status.as_u16());
        self.answers.send_modify(|answers| *answers += 1);
    }

    async fn delegate(&self, body: Bytes) -> (StatusCode, Vec<u8>) {
        response::respond(self.pipeline.hotplug(&body).await)
    }

    fn ready(&self) -> bool {
        !self.pipeline.is_draining()
    }

    fn unbound(&self) -> Option<String> {
        self.unbound.reason()
    }

    fn policies(&self) -> Vec<u8> {
        let policies = self
            .policies
            .current()
            .policies()
            .into_iter()
            .map(admin::policy)
            .collect();
        serde_json::to_vec(&shim_api::admin::PolicyList { policies }).unwrap_or_default()
    }

    async fn attachments(&self) -> (StatusCode, Vec<u8>) {
        self.list().await
    }

    async fn forget(&self, body: Bytes) -> (StatusCode, Vec<u8>) {
        self.forget_in_ledger(&body).await
    }

    async fn explain(&self, body: Bytes) -> (StatusCode, Vec<u8>) {
        match explain::parse(&body) {
            Ok((add, pod)) => {
                explain::answer(self.pipeline.explain(add.get().as_bytes(), pod).await)
            }
            Err(error) => response::refused(&error),
        }
    }

    async fn record(&self, body: Bytes) -> (StatusCode, Vec<u8>) {
        let Some(recorder) = self.policies.recorder().map(Arc::clone) else {
            return response::refused(&admin::not_configured());
        };
        let given = match admin::record(&body) {
            Ok(given) => given,
            Err(error) => return response::refused(&error),
        };
        let done = tokio::task::spawn_blocking(move || policies::order(&recorder, given)).await;
        match done.unwrap_or_else(|panic| Err(std::io::Error::other(panic))) {
            Ok(status) => {
                let body = serde_json::to_vec(&admin::recording(status));
                (StatusCode::OK, body.unwrap_or_default())
            }
            Err(error) => response::refused(&CniError::new(code::IO_FAILURE, error.to_string())),
        }
    }

    async fn release(&self, body: Bytes) -> (StatusCode, Vec<u8>) {
        let name = match admin::release(&body) {
            Ok(name) => name,
            Err(error) => return response::refused(&error),
        };
        match self.policies.release(&name).await {
            Ok(true) => (StatusCode::OK, self.policies()),
            Ok(false) => response::refused(&admin::not_quarantined(&name)),
            Err(error) => response::refused(&CniError::new(code::IO_FAILURE, error.to_string())),
        }
    }

    fn traces(&self) -> (StatusCode, Vec<u8>) {
        match &self.traces {
            Some(traces) => {
                let body = serde_json::to_vec(&traces.ring.list());
                (StatusCode::OK, body.unwrap_or_default())
            }
            None => response::refused(&admin::not_traced()),
        }
    }

    async fn metrics(&self) -> Vec<u8> {
        self.metrics_text().await.into_bytes()
    }

    fn log_levels(&self) -> Vec<u8> {
        serde_json::to_vec(&LEVELS.shown()).unwrap_or_default()
    }

    fn set_log_levels(&self, body: &[u8]) -> (StatusCode, Vec<u8>) {
        let change = match admin::log_change(body) {
            Ok(change) => change,
            Err(error) => return response::refused(&error),
        };
        if let Err(error) = LEVELS.change(&change) {
            return response::refused(&CniError::new(code::INVALID_CONFIG, error.to_string()));
        }
        let shown = LEVELS.shown();
        tracing::warn!(level = shown.level, modules = ?shown.modules, "the log's levels were changed");
        (StatusCode::OK, self.log_levels())
    }

    async fn leave(&self) -> (StatusCode, Vec<u8>) {
        self.prepare_to_leave().await
    }
}
