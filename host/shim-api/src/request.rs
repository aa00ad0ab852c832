//! The request body of `POST /cni` and `POST /delegate`. Written like Multus' shim does; parsed
//! leniently: unknown keys are skipped and a whole process environment is accepted, within limits.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::attributes::InterfaceAttributes;
use crate::{mismatch, object};

/// Maximum bytes of a CNI configuration.
pub const MAX_CONFIG_BYTES: usize = 8 << 20;

/// Maximum total bytes of an environment's names and values (the kernel's usual `ARG_MAX`).
pub const MAX_ENV_BYTES: usize = 2 << 20;

/// Maximum number of environment variables.
pub const MAX_ENV_VARS: usize = 4096;

/// Maximum bytes of a request body: base64 configuration, escaped environment, and the rest.
pub const MAX_BODY_BYTES: usize = 16 << 20;

/// One CNI call, as the shim received it. Member names are case-insensitive, as in Go.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Request {
    /// Environment with `CNI_COMMAND` and others. Multus' shim sends its whole environment, ours
    /// only `CNI_*`, `TRACEPARENT` and `TRACESTATE`. Receivers must use nothing else.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The configuration exactly as on standard input; base64 in JSON. Empty if there was none.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "to_base64")]
    pub config: Vec<u8>,
    /// Attributes of the interface; only for [`crate::endpoint::DELEGATE`].
    #[serde(
        rename = "interfaceAttributes",
        skip_serializing_if = "Option::is_none"
    )]
    pub interface_attributes: Option<InterfaceAttributes>,
}

impl<'de> Deserialize<'de> for Request {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

/// Visitor for a request's members; the last of duplicates wins.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Request;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Request, M::Error> {
        let mut request = Request::default();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            // Go writes `null` for an empty map or slice and accepts it.
            if key.eq_ignore_ascii_case("env") {
                request.env = map.next_value::<Option<_>>()?.unwrap_or_default();
            } else if key.eq_ignore_ascii_case("config") {
                request.config = map.next_value::<Base64>()?.0;
            } else if key.eq_ignore_ascii_case("interfaceAttributes") {
                request.interface_attributes = map.next_value()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(request)
    }
}

/// Why a request body was rejected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The body is larger than [`MAX_BODY_BYTES`].
    #[error("request of {actual} bytes, at most {limit} are taken")]
    BodyTooLarge {
        /// Bytes received.
        actual: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The body is not JSON.
    #[error("request is not the expected JSON")]
    Json(#[source] serde_json::Error),
    /// The body is JSON, but not a request. The value is not quoted: it may be part of an
    /// environment, and errors are logged.
    #[error("request does not have the expected shape, at line {line} column {column}")]
    Shape {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A member has a wrong type.
    #[error("request: {path}: expected {expected}, found {found}")]
    Member {
        /// Such as `interfaceAttributes.ips[1]`.
        path: String,
        /// The expected type, in words.
        expected: &'static str,
        /// The type found; for a number or a boolean, its value.
        found: String,
    },
    /// The decoded configuration is larger than [`MAX_CONFIG_BYTES`].
    #[error("config of {actual} bytes, at most {limit} are taken")]
    ConfigTooLarge {
        /// Bytes received.
        actual: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The environment exceeds [`MAX_ENV_VARS`] variables or [`MAX_ENV_BYTES`] bytes.
    #[error("environment of {vars} variables and {bytes} bytes is too large")]
    EnvTooLarge {
        /// Number of variables.
        vars: usize,
        /// Total bytes of names and values.
        bytes: usize,
    },
}

impl Request {
    /// Parses a complete request body; called by the server.
    ///
    /// # Errors
    /// The body is too large, not JSON, or not a request. Variables are not validated.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        if body.len() > MAX_BODY_BYTES {
            return Err(Error::BodyTooLarge {
                actual: body.len(),
                limit: MAX_BODY_BYTES,
            });
        }
        let request: Self = object::parse(body).map_err(|error| refused(error, body))?;
        request.check_size()?;
        Ok(request)
    }

    /// Checks the sizes of configuration and environment.
    ///
    /// # Errors
    /// [`Error::ConfigTooLarge`] or [`Error::EnvTooLarge`].
    pub fn check_size(&self) -> Result<(), Error> {
        if self.config.len() > MAX_CONFIG_BYTES {
            return Err(Error::ConfigTooLarge {
                actual: self.config.len(),
                limit: MAX_CONFIG_BYTES,
            });
        }
        let vars = self.env.len();
        let bytes = self.env.iter().map(|(k, v)| k.len() + v.len()).sum();
        if vars > MAX_ENV_VARS || bytes > MAX_ENV_BYTES {
            return Err(Error::EnvTooLarge { vars, bytes });
        }
        Ok(())
    }

    /// The request as a JSON body.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("string keys and an in-memory writer: nothing can fail")
    }
}

fn refused(error: serde_json::Error, body: &[u8]) -> Error {
    if !error.is_data() {
        return Error::Json(error);
    }
    match mismatch::in_request(body) {
        Some(wrong) => Error::Member {
            path: wrong.path,
            expected: wrong.expected,
            found: wrong.found,
        },
        None => Error::Shape {
            line: error.line(),
            column: error.column(),
        },
    }
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

/// Base64 bytes; empty for `null`.
struct Base64(Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Option<Cow<'de, str>> = Option::deserialize(deserializer)?;
        let text = text.unwrap_or_default();
        let bytes = STANDARD.decode(text.as_bytes());
        bytes.map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Request {
        Request::parse(body.as_bytes()).expect("a good request")
    }

    #[test]
    fn a_request_is_written_as_multus_shim_writes_it() {
        let request = Request {
            env: BTreeMap::from([
                ("CNI_IFNAME".to_owned(), "eth0".to_owned()),
                ("CNI_COMMAND".to_owned(), "ADD".to_owned()),
            ]),
            config: br#"{"name":"n"}"#.to_vec(),
            interface_attributes: None,
        };
        assert_eq!(
            String::from_utf8(request.to_json()).unwrap(),
            r#"{"env":{"CNI_COMMAND":"ADD","CNI_IFNAME":"eth0"},"config":"eyJuYW1lIjoibiJ9"}"#
        );
    }

    #[test]
    fn empty_request_is_an_empty_object() {
        assert_eq!(Request::default().to_json(), b"{}");
    }

    #[test]
    fn hotplug_interface_attributes_are_parsed() {
        let request = parse(
            r#"{"env":{"CNI_COMMAND":"ADD"},"config":"e30=","interfaceAttributes":
                {"ips":["10.0.0.9/24"],"mac":"02:00:00:00:00:01","cni-args":{"n":18446744073709551616}}}"#,
        );
        let attributes = request.interface_attributes.unwrap();
        assert_eq!(attributes.ips, ["10.0.0.9/24"]);
        assert_eq!(attributes.mac, "02:00:00:00:00:01");
        // Larger than any integer type: kept byte for byte.
        assert_eq!(
            attributes.cni_args.unwrap()["n"].get(),
            "18446744073709551616"
        );
    }

    #[test]
    fn missing_cni_args_are_written_as_null() {
        let request = Request {
            interface_attributes: Some(InterfaceAttributes::default()),
            ..Request::default()
        };
        assert_eq!(
            request.to_json(),
            br#"{"interfaceAttributes":{"cni-args":null}}"#
        );
    }

    #[test]
    fn members_are_read_in_any_case() {
        let request = parse(
            r#"{"Env":{"CNI_COMMAND":"ADD"},"CONFIG":"e30=","InterfaceAttributes":{"Mac":"a"},"envs":7}"#,
        );
        assert_eq!(request.env["CNI_COMMAND"], "ADD");
        assert_eq!(request.config, b"{}");
        assert_eq!(request.interface_attributes.unwrap().mac, "a");
    }

    #[test]
    fn null_and_absent_mean_empty() {
        for body in [
            "{}",
            r#"{"env":null,"config":null,"interfaceAttributes":null}"#,
            r#"{"config":"","more":[1,{"deep":true}]}"#,
        ] {
            let request = parse(body);
            assert!(request.env.is_empty(), "{body}");
            assert!(request.config.is_empty(), "{body}");
            assert!(request.interface_attributes.is_none(), "{body}");
        }
    }

    #[test]
    fn a_whole_environment_with_escapes_is_accepted() {
        let request =
            parse(r#"{"env":{"PS1":"\u001b[0m","LS_COLORS":"*.a=1:","CNI_ARGS":"A=\"b\""}}"#);
        assert_eq!(request.env["CNI_ARGS"], "A=\"b\"");
        assert_eq!(request.env["PS1"], "\u{1b}[0m");
    }

    #[test]
    fn input_other_than_a_request_is_rejected() {
        for body in [
            "",
            "nope",
            "[]",
            r#"{"env":["CNI_COMMAND=ADD"]}"#,
            r#"{"env":{"A":1}}"#,
            r#"{"config":"not base64!"}"#,
            r#"{"config":"e30"}"#,
            r#"{"config":{}}"#,
            r#"{} {}"#,
        ] {
            let error = Request::parse(body.as_bytes()).expect_err(body);
            assert!(
                !matches!(error, Error::BodyTooLarge { .. }),
                "{body}: {error:?}"
            );
        }
    }

    #[test]
    fn a_wrong_member_is_named_by_its_path() {
        for (body, expected) in [
            (
                r#"{"env":["A=secret"]}"#,
                "env: expected an object, found a list",
            ),
            (
                r#"{"Env":{"A":"b","C":7}}"#,
                "env.C: expected a string, found 7",
            ),
            (
                r#"{"config":"secret!"}"#,
                "config: expected base64, found a string",
            ),
            (
                r#"{"config":{}}"#,
                "config: expected base64, found an object",
            ),
            (
                r#"{"interfaceAttributes":["secret"]}"#,
                "interfaceAttributes: expected an object, found a list",
            ),
            (
                r#"{"interfaceAttributes":{"ips":"secret"}}"#,
                "interfaceAttributes.ips: expected a list, found a string",
            ),
            (
                r#"{"interfaceAttributes":{"x":7,"IPs":["10.0.0.9/24",{}]}}"#,
                "interfaceAttributes.ips[1]: expected a string, found an object",
            ),
            (
                r#"{"interfaceAttributes":{"mac":true}}"#,
                "interfaceAttributes.mac: expected a string, found true",
            ),
            (
                r#"{"interfaceAttributes":{"cni-args":"secret"}}"#,
                "interfaceAttributes.cni-args: expected an object, found a string",
            ),
        ] {
            let error = Request::parse(body.as_bytes()).expect_err(body).to_string();
            assert_eq!(error, format!("request: {expected}"), "{body}");
        }
        let error = Request::parse(b"[]").expect_err("a list");
        assert!(matches!(error, Error::Shape { .. }), "{error:?}");
    }

    #[test]
    fn too_much_of_anything_is_refused() {
        let too_long = vec![b' '; MAX_BODY_BYTES + 1];
        assert!(matches!(
            Request::parse(&too_long),
            Err(Error::BodyTooLarge { .. })
        ));

        let config = Request {
            config: vec![0; MAX_CONFIG_BYTES + 1],
            ..Request::default()
        };
        assert!(matches!(
            Request::parse(&config.to_json()),
            Err(Error::ConfigTooLarge { .. })
        ));

        let many = Request {
            env: (0..=MAX_ENV_VARS)
                .map(|n| (n.to_string(), String::new()))
                .collect(),
            ..Request::default()
        };
        assert!(matches!(
            Request::parse(&many.to_json()),
            Err(Error::EnvTooLarge { .. })
        ));

        let long = Request {
            env: BTreeMap::from([("A".to_owned(), "x".repeat(MAX_ENV_BYTES))]),
            ..Request::default()
        };
        assert!(matches!(
            Request::parse(&long.to_json()),
            Err(Error::EnvTooLarge { .. })
        ));
    }

    proptest::proptest! {
        // Each case is a whole environment, so a few cases suffice.
        #![proptest_config(proptest::test_runner::Config::with_cases(32))]

        #[test]
        fn what_is_written_is_read_back(
            env: BTreeMap<String, String>,
            config: Vec<u8>,
            attributes: Option<(Vec<String>, String)>,
        ) {
            let request = Request {
                env,
                config,
                interface_attributes: attributes.map(|(ips, mac)| InterfaceAttributes {
                    ips,
                    mac,
                    ..InterfaceAttributes::default()
                }),
            };
            let json = request.to_json();
            let read = Request::parse(&json).unwrap();
            proptest::prop_assert_eq!(&read.env, &request.env);
            proptest::prop_assert_eq!(&read.config, &request.config);
            proptest::prop_assert_eq!(read.to_json(), json);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Request::parse(&bytes);
        }
    }
}
