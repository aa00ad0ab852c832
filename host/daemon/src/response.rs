//! Last stage: the only place that maps errors to CNI error codes.

use cni_types::conf;
use cni_types::error::{CniError, code};
use cni_types::result::CniResult;
use cni_types::text::plain_lines;
use cni_types::version::Version;
use hyper::StatusCode;

use cnidaria_core::conf::net_conf;
use cnidaria_core::pipeline::Error;
use cnidaria_core::ports::{ClusterError, PodNetworkError};
use cnidaria_core::report;
use cnidaria_core::stages::{devices, hotplug, network_lookup, request, resolve};

/// Status and body for the shim: `200` with a 1.x result or an empty one, `400` with an error.
pub fn respond(answer: Result<Option<CniResult>, Error>) -> (StatusCode, Vec<u8>) {
    match answer {
        Ok(None) => (StatusCode::OK, shim_api::response::success(None)),
        Ok(Some(result)) => match result.to_raw(Version::LATEST) {
            Ok(raw) => (StatusCode::OK, shim_api::response::success(Some(&raw))),
            Err(error) => refused(&CniError::new(code::INTERNAL, report::chain(&error))),
        },
        // Nothing was begun: the shim may retry even an ADD.
        Err(error @ Error::Draining) => (StatusCode::SERVICE_UNAVAILABLE, body(&cni_error(&error))),
        Err(error) => refused(&cni_error(&error)),
    }
}

fn body(error: &CniError) -> Vec<u8> {
    // Annotations, NADs and delegates choose parts of it, and the runtime logs it.
    shim_api::response::failure(&CniError {
        msg: plain_lines(&error.msg).into_owned(),
        details: plain_lines(&error.details).into_owned(),
        ..error.clone()
    })
}

/// Status and body for an error.
pub fn refused(error: &CniError) -> (StatusCode, Vec<u8>) {
    (StatusCode::BAD_REQUEST, body(error))
}

/// The CNI error of a failed request.
pub fn cni_error(error: &Error) -> CniError {
    match error {
        Error::Delegate(failed) => CniError {
            msg: format!("network {:?}: {}", failed.network, failed.error.msg),
            ..failed.error.clone()
        },
        Error::Denied(denial) => {
            let message = format!(
                "policy {:?} denied ({}): {}",
                denial.policy, denial.hook, denial.message
            );
            let number = match denial.code {
                code::TRY_AGAIN_LATER => denial.code,
                other => other.max(code::FIRST_OWN),
            };
            let error = CniError::new(number, message);
            match &denial.details {
                Some(details) => error.with_details(details),
                None => error,
            }
        }
        Error::NotUndone { cause, left } => {
            let left: Vec<String> = left.iter().map(|error| report::chain(error)).collect();
            let cause = cni_error(cause);
            let separator = if cause.details.is_empty() { "" } else { "; " };
            CniError {
                details: format!(
                    "{}{separator}could not be undone: {}",
                    cause.details,
                    left.join("; ")
                ),
                ..cause
            }
        }
        Error::Several(errors) => {
            let all: Vec<String> = errors
                .iter()
                .map(|error| cni_error(error).to_string())
                .collect();
            // The first error's code decides how the runtime reacts.
            let first = errors
                .first()
                .map_or(code::INTERNAL, |error| cni_error(error).code);
            CniError::new(first, all.join("; "))
        }
        other => CniError::new(error_code(other), report::chain(other)),
    }
}

/// A kubelet or scheduler that is not ready yet is worth a retry.
fn device_code(error: &devices::Error) -> u32 {
    match error {
        devices::Error::Kubelet(_) | devices::Error::NotAllocated { .. } => code::TRY_AGAIN_LATER,
        devices::Error::Cluster(error) => cluster_code(error),
        devices::Error::NoDevice { .. }
        | devices::Error::Undescribed { .. }
        | devices::Error::Conf(_) => code::INVALID_CONFIG,
    }
}

fn error_code(error: &Error) -> u32 {
    match error {
        Error::Draining
        | Error::Superseded
        | Error::Deadline(_)
        | Error::Continues(_)
        | Error::Removing(_)
        | Error::Busy { .. }
        | Error::Collecting { .. } => code::TRY_AGAIN_LATER,
        Error::Readiness(_) => code::TRY_AGAIN_LATER,
        Error::NetworkNotReady(_) => code::PLUGIN_NOT_AVAILABLE,
        Error::Request(error) | Error::Hotplug(hotplug::Error::Request(error)) => {
            request_code(error)
        }
        Error::Hotplug(hotplug::Error::Conf(conf::Error::Json(_))) => code::DECODING_FAILURE,
        Error::Hotplug(_) => code::INVALID_CONFIG,
        Error::Cluster(error) => cluster_code(error),
        Error::Resolve(
            resolve::Error::Selected { source, .. } | resolve::Error::Configured { source, .. },
        ) => lookup_code(source),
        Error::Resolve(resolve::Error::Device { source, .. }) => device_code(source),
        Error::Resolve(_) | Error::SelfDelegation(_) | Error::Argument(_) => code::INVALID_CONFIG,
        Error::Ledger(_) | Error::PodNetwork(PodNetworkError::Netlink { .. }) => code::IO_FAILURE,
        Error::PodNetwork(PodNetworkError::Namespace { .. } | PodNetworkError::Node(_)) => {
            code::INVALID_NETNS
        }
        Error::DefaultRoute { .. }
        | Error::InterfaceExists { .. }
        | Error::OtherNamespace { .. } => code::INVALID_CONFIG,
        Error::NotReady(_) | Error::PoliciesNotReady(_) | Error::NoDefaultNetwork(_) => {
            code::PLUGIN_NOT_AVAILABLE
        }
        Error::NamespaceGone(_) => code::INVALID_NETNS,
        Error::NotAttached(_) => code::UNKNOWN_CONTAINER,
        Error::Attached(_) => code::INVALID_ENVIRONMENT,
        Error::Delegate(error) => error.error.code,
        Error::Skipped(_) => code::FIRST_OWN,
        Error::Denied(_) | Error::NotUndone { .. } | Error::Several(_) => code::INTERNAL,
    }
}

fn request_code(error: &request::Error) -> u32 {
    match error {
        request::Error::Body(_) | request::Error::Conf(net_conf::Error::Json(_)) => {
            code::DECODING_FAILURE
        }
        request::Error::Conf(_) => code::INVALID_CONFIG,
        _ => code::INVALID_ENVIRONMENT,
    }
}

fn cluster_code(error: &ClusterError) -> u32 {
    match error {
        ClusterError::NadNotFound { .. } | ClusterError::Malformed { .. } => code::INVALID_CONFIG,
        // The pod may still appear, or the API server recover.
        _ => code::TRY_AGAIN_LATER,
    }
}

fn lookup_code(error: &network_lookup::Error) -> u32 {
    match error {
        network_lookup::Error::Cluster(error) => cluster_code(error),
        _ => code::INVALID_CONFIG,
    }
}
