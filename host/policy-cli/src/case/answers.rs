//! What delegates answer in a case, or from one of its steps on.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use super::mistake::{CaseFile, Error};
use crate::manifests::Objects;
use crate::node::{Answer, misspelt};

/// What delegates answer, by interface or network.
///
/// # Errors
/// The first mistake.
pub(super) fn answers(
    file: &CaseFile<'_>,
    given: Option<&BTreeMap<String, Spanned<Value>>>,
    objects: &Objects,
) -> Result<BTreeMap<String, Answer>, Error> {
    let given = given.into_iter().flatten();
    given
        .map(|(network, value)| {
            let wrong = |reason: &str| file.mistake(value.referenced, reason);
            if let Some(meant) = misspelt(network, objects) {
                return Err(wrong(&format!("no such network; did you mean {meant:?}?")));
            }
            let Value::Object(members) = &value.value else {
                return Err(wrong("expected members of a CNI result, or error"));
            };
            let answer = match members.get("error") {
                Some(error) if members.len() == 1 => error_answer(error).ok_or_else(|| {
                    wrong("expected code, a number, and msg, a text, of the error")
                })?,
                _ => Answer::Result(members.clone()),
            };
            answer
                .check()
                .map_err(|reason| wrong(&format!("expected members of a CNI result: {reason}")))?;
            Ok((network.clone(), answer))
        })
        .collect()
}

fn error_answer(error: &Value) -> Option<Answer> {
    let members: &Map<String, Value> = error.as_object()?;
    Some(Answer::Error {
        code: u32::try_from(members.get("code")?.as_u64()?).ok()?,
        message: members.get("msg")?.as_str()?.to_owned(),
    })
}
