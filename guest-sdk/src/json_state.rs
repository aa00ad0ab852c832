//! Values that outlive the request, as JSON; needs the grant `state`.
//!
//! Several requests may change one key at once. [`update`] repeats a change until no other request was
//! faster.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::state;

/// How often [`update`] tries.
const TRIES: usize = 16;

/// Whose end removes a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Only the policy's.
    Policy,
    /// That of the pod sandbox of the request: a DEL, a failed ADD or a GC.
    Sandbox,
}

/// Why a value was not read or written.
#[derive(Debug, Clone, PartialEq)]
pub enum Error {
    /// The stored bytes are not JSON of the type.
    Malformed(String),
    /// The host's reason.
    State(state::Error),
}

impl From<Error> for String {
    fn from(error: Error) -> Self {
        match error {
            Error::Malformed(reason) => format!("state: {reason}"),
            Error::State(error) => format!("state: {error:?}"),
        }
    }
}

impl From<Error> for crate::Denial {
    fn from(error: Error) -> Self {
        String::from(error).into()
    }
}

/// The value of a key; `None` if it does not exist.
///
/// # Errors
/// [`Error::Malformed`].
pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Error> {
    parse(state::get(key).as_deref())
}

/// Changes the value of a key: `change` gets the present one and returns the next, `None` to remove
/// it. Returns what it returned.
///
/// # Errors
/// [`Error`]; a quota is the host's.
pub fn update<T: Serialize + DeserializeOwned>(
    key: &str,
    life: Life,
    mut change: impl FnMut(Option<T>) -> Option<T>,
) -> Result<Option<T>, Error> {
    for _ in 0..TRIES {
        let present = state::get(key);
        let next = change(parse(present.as_deref())?);
        let bytes = next.as_ref().map(serde_json::to_vec).transpose();
        let bytes = bytes.map_err(|error| Error::Malformed(error.to_string()))?;
        match state::swap(
            key,
            present.as_deref(),
            bytes.as_deref(),
            life == Life::Sandbox,
        ) {
            Ok(()) => return Ok(next),
            Err(state::Error::Conflict) => {}
            Err(error) => return Err(Error::State(error)),
        }
    }
    Err(Error::State(state::Error::Conflict))
}

/// Sets a key, or removes it, if its present value is `expected`; it vanishes with the sandbox.
///
/// # Errors
/// The host's.
pub fn swap_bound(
    key: &str,
    expected: Option<&[u8]>,
    new: Option<&[u8]>,
) -> Result<(), state::Error> {
    state::swap(key, expected, new, true)
}

fn parse<T: DeserializeOwned>(bytes: Option<&[u8]>) -> Result<Option<T>, Error> {
    let parsed = bytes.map(serde_json::from_slice).transpose();
    parsed.map_err(|error| Error::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_counts_and_is_removed() {
        let count = |present: Option<u32>| Some(present.unwrap_or_default() + 1);
        assert_eq!(update("pods", Life::Sandbox, count), Ok(Some(1)));
        assert_eq!(update("pods", Life::Sandbox, count), Ok(Some(2)));
        assert_eq!(get("pods"), Ok(Some(2)));
        let gone: Result<Option<u32>, _> = update("pods", Life::Policy, |_| None);
        assert_eq!(gone, Ok(None));
        assert_eq!(get::<u32>("pods"), Ok(None));
        state::swap("pods", None, Some(b"x"), false).unwrap();
        assert!(matches!(get::<u32>("pods"), Err(Error::Malformed(_))));
    }
}
