//! `cnidaria trace`: where the time of the last requests went.

mod show;

use std::error::Error;
use std::time::SystemTime;

use node_cli::daemon;
use shim_api::endpoint;
use shim_api::trace::{Trace, TraceList};

use crate::args::{Args, Format};
use crate::output;

/// Shortest beginning of an id that counts as one; shorter ones may be names of pods.
const MIN_PREFIX: usize = 8;
const ID_CHARS: usize = 32;

/// The list of traces or, if `wanted` names some, their waterfalls.
pub(crate) fn trace(args: &Args, wanted: Option<&str>) -> Result<String, Box<dyn Error>> {
    let mut list: TraceList = daemon::get(&args.socket_dir(), endpoint::TRACES)?;
    if let Some(wanted) = wanted {
        list.traces = matching(list.traces, wanted);
        if list.traces.is_empty() {
            let message = format!(
                "none of the last requests is {wanted:?} or for a pod of this name; `cnidaria trace` lists them"
            );
            return Err(message.into());
        }
    }
    #[expect(clippy::disallowed_methods, reason = "an age, as it is shown")]
    let now = SystemTime::now();
    Ok(match (args.output, wanted) {
        (Format::Json, _) => output::json(&list)?,
        (Format::Table, Some(_)) => show::waterfalls(&list.traces, now),
        (Format::Table, None) if list.traces.is_empty() => "no requests yet\n".to_owned(),
        (Format::Table, None) => show::table(&list.traces, now),
    })
}

/// The traces whose id begins with `wanted`, or else those of the pod `[namespace/]name`.
fn matching(traces: Vec<Trace>, wanted: &str) -> Vec<Trace> {
    let is_prefix = (MIN_PREFIX..=ID_CHARS).contains(&wanted.len());
    let is_id = |trace: &Trace| is_prefix && trace.id.starts_with(wanted);
    let by_id = traces.iter().any(is_id);
    let is_wanted = |trace: &Trace| match by_id {
        true => is_id(trace),
        false => is_of_pod(trace, wanted),
    };
    traces.into_iter().filter(is_wanted).collect()
}

fn is_of_pod(trace: &Trace, wanted: &str) -> bool {
    let Some(pod) = attribute(trace, "pod") else {
        return false;
    };
    let name = pod.split_once('/').map_or(pod, |(_, name)| name);
    pod == wanted || name == wanted
}

/// An attribute of the request itself.
fn attribute<'a>(trace: &'a Trace, name: &str) -> Option<&'a str> {
    let request = trace.request()?;
    request.attributes.get(name).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use shim_api::trace::Span;

    use super::*;

    fn of(id: &str, pod: &str) -> Trace {
        let request = Span {
            attributes: [("pod".to_owned(), pod.to_owned())].into(),
            ..Span::default()
        };
        Trace {
            id: id.to_owned(),
            spans: vec![request],
            ..Trace::default()
        }
    }

    #[test]
    fn traces_are_found_by_id_or_pod() {
        let traces = || {
            vec![
                of("4bf92f3577b34da6a3ce929d0e0e4736", "shop/web"),
                of("5bf92f3577b34da6a3ce929d0e0e4736", "test/web"),
                of("6bf92f3577b34da6a3ce929d0e0e4736", "test/4bf92f35-a"),
            ]
        };
        let found = |wanted: &str| -> Vec<String> {
            let found = matching(traces(), wanted);
            let id = |trace: &Trace| trace.id.chars().take(1).collect();
            found.iter().map(id).collect()
        };
        assert_eq!(found("4bf92f35"), ["4"]);
        assert_eq!(found("4bf92f35-a"), ["6"]);
        assert_eq!(found("web"), ["4", "5"]);
        assert_eq!(found("test/web"), ["5"]);
        assert_eq!(found("4bf"), Vec::<String>::new(), "too short for an id");
        assert_eq!(found(""), Vec::<String>::new());
    }
}
