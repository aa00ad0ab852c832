//! One request: authentication, target, authorization, response.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::faults::Fault;
use crate::kinds::{Kind, Target};
use crate::object::{Selector, metadata, shown, text};
use crate::rbac::Wish;
use crate::record::Recorded;
use crate::server::Cluster;
use crate::status::Refusal;
use crate::users::User;
use crate::watch::Watch;
use crate::{patch, signing};

pub(crate) type Body = Either<Full<Bytes>, Channel<Bytes, std::io::Error>>;

/// Rejects larger bodies, as etcd would.
const MAX_BODY: usize = 3 << 20;
/// Default duration of a watch.
const WATCH_SECONDS: u64 = 300;

/// A parsed request.
struct Asked {
    method: Method,
    query: HashMap<String, String>,
    accept: String,
    content_type: String,
    body: Bytes,
}

/// Answers one request. An error closes the connection.
pub(crate) async fn answer(
    cluster: Arc<Cluster>,
    certificate_user: Option<User>,
    request: Request<Incoming>,
) -> Result<Response<Body>, std::io::Error> {
    let (head, body) = request.into_parts();
    let header = |name| {
        let value = head.headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let body = Limited::new(body, MAX_BODY)
        .collect()
        .await
        .map_err(|error| std::io::Error::other(error.to_string()))?
        .to_bytes();
    let raw_query = head.uri.query().unwrap_or_default().to_owned();
    let asked = Asked {
        method: head.method,
        query: decode_query(&raw_query),
        accept: header(ACCEPT),
        content_type: header(CONTENT_TYPE),
        body,
    };
    let target = Target::parse(head.uri.path());
    // An empty token counts as none, not as an invalid one.
    let user = match header(AUTHORIZATION).trim_end() {
        "" | "Bearer" => certificate_user,
        header => cluster.lock_tokens().user(header),
    };
    let mut recorded = Recorded {
        method: asked.method.to_string(),
        path: head.uri.path().to_owned(),
        query: raw_query,
        verb: target.as_ref().map_or("", |target| verb(&asked, target)),
        resource: target.as_ref().map(Target::resource).unwrap_or_default(),
        user: user
            .as_ref()
            .map(|user| user.name.clone())
            .unwrap_or_default(),
        user_agent: header(USER_AGENT),
        content_type: asked.content_type.clone(),
        body: serde_json::from_slice(&asked.body).unwrap_or_default(),
        code: 0,
    };
    let (latency, fault, gathering) = {
        let mut faults = cluster.lock_faults();
        let act = recorded.act();
        (faults.latency, faults.take(&act), faults.gathering(&act))
    };
    tokio::time::sleep(latency).await;
    let about = target
        .as_ref()
        .and_then(|target| Some((target.kind.plural, target.name.clone()?)));
    if let Some(others) = gathering {
        others.wait().await;
    }
    let served = match &fault {
        Some(fault) if !fault.carried_out => None,
        _ => Some(serve(&cluster, user, target, &asked)),
    };
    let outcome = match (fault, served) {
        (Some(fault), _) if fault.code == 0 => {
            cluster.record(recorded);
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        (Some(fault), _) => Err(injected(&fault, about.as_ref())),
        (None, Some(served)) => served,
        (None, None) => Err(Refusal::new(500, "InternalError", "nothing was served")),
    };
    let response = match outcome {
        Ok(Answer::Object(code, object)) => json_response(code, &object),
        Ok(Answer::Watch(watch)) => {
            let (sender, channel) = Channel::new(64);
            let commands = cluster.watch_commands.subscribe();
            tokio::spawn(watch.serve(Arc::clone(&cluster.store), commands, sender));
            Response::new(Either::Right(channel))
        }
        Err(refusal) => {
            let mut response = json_response(refusal.code, &refusal.object());
            if let Some(seconds) = refusal.retry_after {
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            response
        }
    };
    recorded.code = response.status().as_u16();
    cluster.record(recorded);
    Ok(response)
}

enum Answer {
    Object(StatusCode, Value),
    Watch(Watch),
}

fn injected(fault: &Fault, about: Option<&(&'static str, String)>) -> Refusal {
    let mut refusal = match about {
        Some((resource, name)) if fault.code == 409 => Refusal::conflict_of(resource, name),
        _ => Refusal::new(fault.code, "Injected", "this one goes wrong"),
    };
    refusal.retry_after = fault.retry_after;
    refusal
}

fn json_response(code: StatusCode, object: &Value) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(object.to_string().into())));
    *response.status_mut() = code;
    response.headers_mut().insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/json"),
    );
    response
}

fn verb(asked: &Asked, target: &Target) -> &'static str {
    let watches = asked
        .query
        .get("watch")
        .is_some_and(|v| v == "true" || v == "1");
    match (&asked.method, &target.name) {
        (&Method::GET, Some(_)) => "get",
        (&Method::GET, None) if watches => "watch",
        (&Method::GET, None) => "list",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, Some(_)) => "delete",
        _ => "",
    }
}

fn serve(
    cluster: &Cluster,
    user: Option<User>,
    target: Option<Target>,
    asked: &Asked,
) -> Result<Answer, Refusal> {
    let user = user.ok_or_else(|| Refusal::new(401, "Unauthorized", "Unauthorized"))?;
    let is_served = |target: &Target| {
        let faults = cluster.lock_faults();
        !faults.not_served.contains(&target.kind.plural)
    };
    let target = target.filter(is_served).ok_or_else(Refusal::not_served)?;
    let verb = verb(asked, &target);
    // Every authenticated user may ask this.
    if target.kind.kind == "SelfSubjectAccessReview" && verb == "create" {
        return review(cluster, &user, &asked.body);
    }
    let wish = Wish {
        verb,
        group: target.kind.group,
        resource: &target.resource(),
        name: target.name.as_deref().unwrap_or_default(),
    };
    if !cluster.roles.allow(&user, &wish) {
        let message = format!(
            "{} is forbidden: User {:?} cannot {verb} resource {:?} in API group {:?}",
            target.kind.resource(),
            user.name,
            wish.resource,
            target.kind.group
        );
        return Err(Refusal::new(403, "Forbidden", message));
    }
    let ok = |object: &Value| Ok(Answer::Object(StatusCode::OK, shown(object, &asked.accept)));
    let namespace = target.namespace.clone().unwrap_or_default();
    let name = target.name.clone().unwrap_or_default();
    match verb {
        "get" => ok(cluster.lock_store().get(target.kind, &namespace, &name)?),
        "list" => list(cluster, &target, asked).map(|list| Answer::Object(StatusCode::OK, list)),
        "watch" => watch(cluster, &target, asked).map(Answer::Watch),
        "create" => {
            let object = create(cluster, &target, asked, &user)?;
            Ok(Answer::Object(
                StatusCode::CREATED,
                shown(&object, &asked.accept),
            ))
        }
        "patch" => {
            let mut store = cluster.lock_store();
            let before = store.get(target.kind, &namespace, &name)?.clone();
            let mut after = before.clone();
            let media_type = asked.content_type.split(';').next().unwrap_or_default();
            patch::apply(&mut after, media_type.trim(), &asked.body)?;
            keep_what_a_subresource_may_not_change(&target, &before, &mut after);
            cluster.schemas.check(target.kind, &after)?;
            ok(&store.replace(target.kind, &before, after)?)
        }
        "delete" => match cluster.lock_store().delete(target.kind, &namespace, &name) {
            true => ok(&json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})),
            false => Err(Refusal::not_found(target.kind, &name)),
        },
        _ => Err(Refusal::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method",
        )),
    }
}

/// Whether the user may do what a SelfSubjectAccessReview describes.
fn review(cluster: &Cluster, user: &User, body: &[u8]) -> Result<Answer, Refusal> {
    let mut review: Value = serde_json::from_slice(body)
        .map_err(|error| Refusal::bad_request(format!("the object is malformed: {error}")))?;
    let attribute = |name: &str| text(&review, &format!("/spec/resourceAttributes/{name}"));
    let resource = match attribute("subresource") {
        "" => attribute("resource").to_owned(),
        subresource => format!("{}/{subresource}", attribute("resource")),
    };
    let wish = Wish {
        verb: attribute("verb"),
        group: attribute("group"),
        resource: &resource,
        name: attribute("name"),
    };
    let allowed = cluster.roles.allow(user, &wish);
    review["status"] = json!({ "allowed": allowed });
    Ok(Answer::Object(StatusCode::CREATED, review))
}

/// `status` can only be written through its subresource; labels and annotations both ways.
fn keep_what_a_subresource_may_not_change(target: &Target, before: &Value, after: &mut Value) {
    let kept: &[&str] = match &target.subresource {
        Some(_) => &["spec"],
        None if target.kind.subresources.contains(&"status") => &["status"],
        None => &[],
    };
    for member in kept {
        match before.get(member) {
            Some(value) => after[*member] = value.clone(),
            None => drop(after.as_object_mut().map(|after| after.remove(*member))),
        }
    }
    if target.subresource.is_some() {
        let owners = before["metadata"].get("ownerReferences").cloned();
        let metadata = metadata(after);
        match owners {
            Some(owners) => drop(metadata.insert("ownerReferences".to_owned(), owners)),
            None => drop(metadata.remove("ownerReferences")),
        }
    }
}

fn create(
    cluster: &Cluster,
    target: &Target,
    asked: &Asked,
    user: &User,
) -> Result<Value, Refusal> {
    let mut object: Value = serde_json::from_slice(&asked.body)
        .map_err(|error| Refusal::bad_request(format!("the object is malformed: {error}")))?;
    let kind: &Kind = target.kind;
    if text(&object, "/kind") != kind.kind || text(&object, "/apiVersion") != kind.api_version() {
        return Err(Refusal::bad_request(
            "the object is of another kind than the path",
        ));
    }
    let namespace = target.namespace.clone().unwrap_or_default();
    let stated = text(&object, "/metadata/namespace").to_owned();
    if kind.namespaced && !stated.is_empty() && stated != namespace {
        return Err(Refusal::bad_request(
            "the namespace of the object is not that of the path",
        ));
    }
    if kind.namespaced {
        metadata(&mut object).insert("namespace".to_owned(), json!(namespace));
    }
    let mut store = cluster.lock_store();
    if let Some(prefix) = object
        .pointer("/metadata/generateName")
        .and_then(Value::as_str)
    {
        let name = format!("{prefix}{:05x}", store.version());
        metadata(&mut object)
            .entry("name")
            .or_insert_with(|| json!(name));
    }
    if kind.kind == "Event" && text(&object, "/involvedObject/namespace") != namespace {
        return Err(Refusal::invalid(
            "involvedObject.namespace: does not match event.namespace",
        ));
    }
    if kind.kind == "CertificateSigningRequest" {
        signing::admit(&mut object, user)?;
    }
    if kind.kind == "PolicyNodeStatus" {
        begin_custom(&mut object);
    }
    cluster.schemas.check(kind, &object)?;
    let created = store.create(target.kind, object)?;
    drop(store);
    if kind.kind == "CertificateSigningRequest" {
        cluster.sign(&created);
    }
    Ok(created)
}

/// A custom resource begins with the first generation and, as its status is a subresource, without a
/// status.
fn begin_custom(object: &mut Value) {
    if let Some(members) = object.as_object_mut() {
        members.remove("status");
    }
    metadata(object).insert("generation".to_owned(), json!(1));
}

fn list(cluster: &Cluster, target: &Target, asked: &Asked) -> Result<Value, Refusal> {
    let selector = known_query(target, asked)?;
    let store = cluster.lock_store();
    let number = |key: &str| asked.query.get(key).map(|value| value.parse::<usize>());
    let limit = number("limit")
        .transpose()
        .map_err(|_| Refusal::bad_request("limit: not a number"))?
        .filter(|limit| *limit > 0)
        .unwrap_or(usize::MAX);
    let (version, after) = match asked.query.get("continue") {
        None => (store.version(), None),
        Some(token) => {
            let (version, after) = token
                .split_once('/')
                .and_then(|(version, after)| Some((version.parse::<u64>().ok()?, after.to_owned())))
                .ok_or_else(|| Refusal::bad_request("continue: not a token of this server"))?;
            if version < store.compacted {
                return Err(Refusal::gone());
            }
            (version, Some(after))
        }
    };
    let id = |(_, namespace, name): &(String, String, String)| format!("{namespace}/{name}");
    let mut rest = store
        .all(target.kind, target.namespace.as_deref())
        .filter(|(_, object)| selector.fits(object))
        .filter(|(key, _)| after.as_ref().is_none_or(|after| id(key) > *after))
        .peekable();
    let mut last = String::new();
    let mut items = Vec::new();
    while items.len() < limit
        && let Some((key, object)) = rest.next()
    {
        last = id(key);
        items.push(shown(object, &asked.accept));
    }
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if rest.peek().is_some() {
        metadata["continue"] = json!(format!("{version}/{last}"));
    }
    Ok(json!({
        "kind": format!("{}List", target.kind.kind),
        "apiVersion": target.kind.api_version(),
        "metadata": metadata,
        "items": items,
    }))
}

fn watch(cluster: &Cluster, target: &Target, asked: &Asked) -> Result<Watch, Refusal> {
    let selector = known_query(target, asked)?;
    let flag = |key: &str| asked.query.get(key).is_some_and(|value| value == "true");
    let streamed_list = flag("sendInitialEvents");
    if asked.query.contains_key("sendInitialEvents") && cluster.lock_faults().no_streaming {
        return Err(Refusal::invalid(
            "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
        ));
    }
    let matched = asked.query.get("resourceVersionMatch").map(String::as_str);
    if streamed_list && !(flag("allowWatchBookmarks") && matched == Some("NotOlderThan")) {
        return Err(Refusal::invalid(
            "sendInitialEvents needs allowWatchBookmarks and resourceVersionMatch=NotOlderThan",
        ));
    }
    let version: u64 = match asked.query.get("resourceVersion").map(String::as_str) {
        None | Some("") => 0,
        Some(text) => text
            .parse()
            .map_err(|_| Refusal::bad_request("resourceVersion: not a version of this server"))?,
    };
    let seconds = asked
        .query
        .get("timeoutSeconds")
        .and_then(|s| s.parse().ok());
    Ok(Watch {
        kind: target.kind,
        namespace: target.namespace.clone(),
        selector,
        accept: asked.accept.clone(),
        from: (version > 0 && !streamed_list).then_some(version),
        streamed_list,
        delay: cluster.lock_faults().list_delay,
        bookmarks: flag("allowWatchBookmarks"),
        timeout: Duration::from_secs(seconds.unwrap_or(WATCH_SECONDS)),
    })
}

/// Rejects unknown parameters.
fn known_query(target: &Target, asked: &Asked) -> Result<Selector, Refusal> {
    const KNOWN: [&str; 10] = [
        "allowWatchBookmarks",
        "continue",
        "fieldSelector",
        "labelSelector",
        "limit",
        "resourceVersion",
        "resourceVersionMatch",
        "sendInitialEvents",
        "timeoutSeconds",
        "watch",
    ];
    if let Some(unknown) = asked
        .query
        .keys()
        .find(|key| !KNOWN.contains(&key.as_str()))
    {
        return Err(Refusal::bad_request(format!(
            "unknown parameter {unknown:?}"
        )));
    }
    let selector = asked.query.get("fieldSelector").map(String::as_str);
    Selector::parse(target.kind, selector.unwrap_or_default())
}

fn decode_query(query: &str) -> HashMap<String, String> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (percent_decode(key), percent_decode(value)))
        .collect()
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (high, low) = (hex(rest.next()), hex(rest.next()));
                let value = high.unwrap_or(0) * 16 + low.unwrap_or(0);
                bytes.push(u8::try_from(value).unwrap_or(b'?'));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Cluster {
    fn record(&self, recorded: Recorded) {
        self.recorded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(recorded);
        self.requests.send_modify(|count| *count += 1);
    }
}
