//! Checks the parameters in the address of a PostgreSQL: each is honoured or refused by name. An ignored parameter
//! could mean another schema, or a connection that is less safe than its operator believes.

use std::net::Ipv6Addr;

use url::Url;
use url::form_urlencoded::Serializer;

use crate::domain::{Error, Result};

/// Parameters that the driver reads by itself.
const OF_THE_DRIVER: [&str; 16] = [
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

/// The schemas of a session. The driver does not know this parameter; the server takes it as an option of the session.
const SEARCH_PATH: &str = "search_path";

/// Parameters with values that the desk fulfils anyway. They are dropped.
const SATISFIED: [(&str, &[&str]); 6] = [
    ("application_name", &["watchfloor"]),
    // The driver supports neither channel binding nor GSSAPI, and tries neither.
    ("channel_binding", &["disable", "prefer"]),
    ("gssencmode", &["disable", "prefer"]),
    // The desk never uses a standby.
    ("target_session_attrs", &["primary", "read-write"]),
    ("client_encoding", &["UTF8", "UTF-8", "utf8", "utf-8"]),
    ("sslcompression", &["0"]),
];

/// The advice in a refusal, by parameter. Other parameters get [`USUALLY`].
const INSTEAD: [(&str, &str); 7] = [
    ("application_name", "it is always watchfloor"),
    ("channel_binding", "the driver knows none"),
    ("connect_timeout", "--database-wait-seconds says how long a request waits for a connection"),
    ("target_session_attrs", "the desk serves primaries only"),
    ("schema", "it is called search_path"),
    ("currentSchema", "it is called search_path"),
    ("statement-cache-capacity", "the desk chooses it"),
];

const USUALLY: &str = "settings of the server are given as options=-c%20name=value";

/// Returns the address of a database for the driver. An address of SQLite stays unchanged.
///
/// Refuses with `INVALID` an address that cannot be parsed, and a parameter that is not honoured.
pub fn honoured_address(address: &str) -> Result<String> {
    if address.starts_with("sqlite:") {
        return Ok(address.to_owned());
    }
    let invalid = |message: String| Error::invalid("database-url", message);
    // The message omits the address, because it contains a password.
    let mut url = Url::parse(address).map_err(|error| invalid(format!("the database URL cannot be read ({error})")))?;
    let mut parameters = Serializer::new(String::new());
    // The driver would take an IPv6 address in brackets for a host name, brackets included.
    let bare = url.host_str().and_then(|host| host.strip_prefix('[')?.strip_suffix(']')).map(str::to_owned);
    if let Some(host) = bare.filter(|host| host.parse::<Ipv6Addr>().is_ok()) {
        parameters.append_pair("host", &host);
    }
    for (name, value) in url.query_pairs() {
        let satisfied = SATISFIED.iter().any(|(known, values)| *known == name && values.contains(&&*value));
        if name == SEARCH_PATH {
            // A space ends the value, unless a backslash precedes it.
            let path = value.replace('\\', "\\\\").replace(' ', "\\ ");
            parameters.append_pair("options", &format!("-c search_path={path}"));
        } else if OF_THE_DRIVER.contains(&&*name) || name.starts_with("options[") {
            parameters.append_pair(&name, &value);
        } else if !satisfied {
            let instead = INSTEAD.iter().find(|(known, _)| *known == name).map_or(USUALLY, |(_, instead)| instead);
            return Err(invalid(format!(
                "the database URL says {name}={value}, which this desk does not honour: {instead} (--database-url)"
            )));
        }
    }
    let parameters = parameters.finish();
    url.set_query(Some(parameters.as_str()).filter(|parameters| !parameters.is_empty()));
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use sea_orm::sqlx::postgres::PgConnectOptions;

    use super::*;

    fn options(address: &str) -> PgConnectOptions {
        let address = honoured_address(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        PgConnectOptions::from_str(&address).expect("an address for the driver")
    }

    #[test]
    fn a_parameter_is_honoured_or_refused_by_its_name() {
        let with = |parameters: &str| format!("postgres://u:p@localhost/d?{parameters}");
        for honoured in [
            "",
            "sslmode=verify-full&sslrootcert=/ca.pem",
            "host=/run/postgresql",
            "options=-c%20work_mem=64MB",
            "options[work_mem]=64MB",
            "search_path=desk,public",
            "application_name=watchfloor",
            "channel_binding=prefer",
            "target_session_attrs=read-write",
            "client_encoding=UTF8",
        ] {
            options(&with(honoured));
        }
        for (refused, name) in [
            ("channel_binding=require", "channel_binding"),
            ("sslmode=require&connect_timeout=5", "connect_timeout"),
            ("application_name=soc", "application_name"),
            ("schema=desk", "schema"),
            ("SSLMODE=require", "SSLMODE"),
            ("sslcrl=/crl.pem", "sslcrl"),
            ("target_session_attrs=any", "target_session_attrs"),
        ] {
            let error = honoured_address(&with(refused)).expect_err(refused).to_string();
            assert!(error.contains(name) && !error.contains("u:p"), "{error}");
        }
        let file = "sqlite://desk.db?cache=shared";
        assert_eq!(honoured_address(file).expect("as it is"), file);
    }

    #[test]
    fn a_host_of_ipv6_is_an_address_and_no_name() {
        for (address, host, port) in [
            ("postgres://u:p@[::1]:5433/d", "::1", 5433),
            ("postgres://u:p@[2001:db8::7]/d?sslmode=disable", "2001:db8::7", 5432),
            ("postgres://u:p@localhost/d", "localhost", 5432),
            ("postgres://u:p@10.0.0.1:1/d", "10.0.0.1", 1),
        ] {
            let options = options(address);
            assert_eq!((options.get_host(), options.get_port()), (host, port));
            assert_eq!((options.get_username(), options.get_database()), ("u", Some("d")));
        }
    }

    #[test]
    fn a_search_path_goes_into_the_session() {
        let options = options("postgres://u:p%40%2F@localhost/d?search_path=desk,%20public");
        assert_eq!(options.get_options(), Some("-c search_path=desk,\\ public"));
    }
}
