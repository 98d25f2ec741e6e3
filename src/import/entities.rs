//! Entities in the forms of Microsoft's products, by type and with each type's own properties, as entities of the desk.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::odd::Odds;
use super::record::EntityRecord;
use super::words;
use crate::domain::entity::{EntityKind, Verdict};

/// Kinds of entities that have no name of their own but connect other entities. They stay in the raw payload.
const TIES: [&str; 10] = [
    "hostlogonsession",
    "networkconnection",
    "mailcluster",
    "huntingbookmark",
    "location",
    "alerts",
    "activitygroup",
    "networkinterface",
    "hostlogon",
    "authentication",
];

/// Returns the entities of a SecurityAlert row or a Sentinel response, which the file names `field`. References
/// (`$ref`) are followed. Entities without a name (a logon session, a connection) stay in the raw payload.
pub(crate) fn of_sentinel(entities: &[Value], field: &str, odds: &mut Odds) -> Vec<EntityRecord> {
    let by_id: HashMap<&str, &Value> =
        entities.iter().filter_map(|entity| Some((entity.get("$id")?.as_str()?, entity))).collect();
    let mut named = Vec::new();
    for (index, entity) in entities.iter().enumerate() {
        let properties = Properties::of(entity, &by_id);
        match properties.record() {
            Ok(record) => named.extend(record),
            Err(reason) => odds.keep(format!("{field}.{index}"), &entity.to_string(), reason),
        }
    }
    named
}

/// The properties of one entity, by normalised name ([`words::squash`]).
struct Properties<'a> {
    by_name: HashMap<String, &'a Value>,
    by_id: &'a HashMap<&'a str, &'a Value>,
}

impl<'a> Properties<'a> {
    fn of(entity: &'a Value, by_id: &'a HashMap<&'a str, &'a Value>) -> Self {
        let mut by_name = HashMap::new();
        let nested = entity.get("properties").and_then(Value::as_object);
        for map in [entity.as_object(), nested].into_iter().flatten() {
            by_name.extend(map.iter().map(|(name, value)| (words::squash(name), value)));
        }
        Self { by_name, by_id }
    }

    /// Returns the first of these properties that is a text and not blank.
    fn text(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| {
            let text = self.by_name.get(*name)?.as_str()?.trim();
            (!text.is_empty()).then(|| text.to_owned())
        })
    }

    /// Returns the entity in a property, or the entity that it refers to.
    fn inner(&self, name: &str) -> Option<Self> {
        let value = *self.by_name.get(name)?;
        let target = match value.get("$ref").and_then(Value::as_str) {
            Some(id) => self.by_id.get(id).copied()?,
            None => value,
        };
        Some(Self::of(target, self.by_id))
    }

    /// Returns the entity, or `None` if it has no name of its own. An error tells why it stays in the raw payload only.
    fn record(&self) -> Result<Option<EntityRecord>, String> {
        let said = self.text(&["kind"]).or_else(|| self.text(&["type"]));
        let Some(said) = said else {
            let is_reference = self.by_name.keys().all(|name| matches!(name.as_str(), "ref" | "id"));
            return if is_reference { Ok(None) } else { Err("this says no kind of entity".to_owned()) };
        };
        let kind = words::squash(&said);
        if TIES.contains(&kind.as_str()) {
            return Ok(None);
        }
        let named = self.named(&kind).ok_or_else(|| format!("\"{said}\" is no kind of entity that is known here"))?;
        match named {
            (kind, Some(value)) => Ok(Some(entity(kind, &value, None))),
            (_, None) if self.says_nothing() => Ok(None),
            (_, None) => Err(format!("this \"{said}\" has no name, address or path")),
        }
    }

    /// Returns whether the entity has no property beside its kind.
    fn says_nothing(&self) -> bool {
        let is_empty = |value: &Value| value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
        self.by_name.iter().all(|(name, value)| {
            matches!(name.as_str(), "id" | "type" | "kind" | "name" | "properties") || is_empty(value)
        })
    }

    /// Returns the kind of an entity and its name, if it has a name; `None` for an unknown kind.
    fn named(&self, kind: &str) -> Option<(EntityKind, Option<String>)> {
        Some(match kind {
            "account" => (EntityKind::User, self.account()),
            "host" | "iotdevice" => (EntityKind::Device, self.host()),
            "ip" => (EntityKind::Ip, self.text(&["address"])),
            "url" => (EntityKind::Url, self.text(&["url"])),
            "dns" | "dnsresolution" => (EntityKind::Domain, self.text(&["domainname"])),
            "file" => (EntityKind::File, self.file()),
            "filehash" => (EntityKind::FileHash, self.text(&["hashvalue", "value"])),
            "process" => (EntityKind::Process, self.process()),
            "mailbox" => (EntityKind::Mailbox, self.text(&["mailboxprimaryaddress", "upn"])),
            "mailmessage" | "submissionmail" => {
                (EntityKind::MailMessage, self.text(&["subject", "internetmessageid", "networkmessageid"]))
            }
            "azureresource" => (EntityKind::CloudResource, self.text(&["resourceid"])),
            "cloudapplication" => (EntityKind::CloudApplication, self.text(&["name", "appname"])),
            "registrykey" => (EntityKind::RegistryKey, self.registry_key()),
            "registryvalue" => (EntityKind::RegistryKey, self.registry_value()),
            "securitygroup" => (EntityKind::SecurityGroup, self.text(&["distinguishedname", "sid"])),
            "malware" => (EntityKind::Other, self.text(&["name", "malwarename"])),
            _ => return None,
        })
    }

    fn account(&self) -> Option<String> {
        let ids = ["sid", "aaduserid", "objectguid", "puid"];
        let name = self.text(&["name", "accountname", "friendlyname", "displayname"]).or_else(|| self.text(&ids))?;
        Some(match (self.text(&["upnsuffix"]), self.text(&["ntdomain"])) {
            (Some(suffix), _) => format!("{name}@{suffix}"),
            (None, Some(domain)) => format!("{domain}\\{name}"),
            (None, None) => name,
        })
    }

    fn host(&self) -> Option<String> {
        let name = self.text(&["hostname", "netbiosname", "devicename", "friendlyname"])?;
        Some(match self.text(&["dnsdomain"]) {
            Some(domain) => format!("{name}.{domain}"),
            None => name,
        })
    }

    fn file(&self) -> Option<String> {
        let name = self.text(&["name", "filename"])?;
        Some(match self.text(&["directory"]) {
            Some(directory) => {
                let separator = if directory.contains('\\') || directory.contains(':') { '\\' } else { '/' };
                format!("{}{separator}{name}", directory.trim_end_matches(['\\', '/']))
            }
            None => name,
        })
    }

    fn process(&self) -> Option<String> {
        self.text(&["commandline"]).or_else(|| self.inner("imagefile")?.file())
    }

    fn registry_key(&self) -> Option<String> {
        let key = self.text(&["key"])?;
        Some(match self.text(&["hive"]) {
            Some(hive) => format!("{hive}\\{key}"),
            None => key,
        })
    }

    fn registry_value(&self) -> Option<String> {
        let key = self.inner("key").and_then(|key| key.registry_key());
        let parts = [key, self.text(&["name", "valuename"])];
        let path = parts.into_iter().flatten().collect::<Vec<_>>().join("\\");
        (!path.is_empty()).then_some(path)
    }
}

/// Returns the entities in a piece of Graph evidence, which the file names `field`: an account, a device, a file with
/// its hash, and others.
pub(crate) fn of_graph(evidence: &Map<String, Value>, field: &str, odds: &mut Odds) -> Vec<EntityRecord> {
    let said = evidence.get("@odata.type").and_then(Value::as_str).unwrap_or_default();
    let said = said.rsplit('.').next().unwrap_or_default();
    let kind = words::squash(said);
    let verdict = verdict_of(evidence, field, odds);
    let text = |path: &[&str]| text_at(evidence, path);
    let account = |name: &str| {
        let name_of = |field: &str| text(&[name, field]);
        name_of("userPrincipalName").or_else(|| match (name_of("domainName"), name_of("accountName")) {
            (Some(domain), Some(account)) => Some(format!("{domain}\\{account}")),
            (_, account) => account,
        })
    };
    let file = |name: &str| match (text(&[name, "filePath"]), text(&[name, "fileName"])) {
        (Some(path), Some(file)) if !path.ends_with(&file) => Some(format!("{}\\{file}", path.trim_end_matches('\\'))),
        (Some(path), _) => Some(path),
        (None, file) => file,
    };
    let found = match kind.as_str() {
        "userevidence" => vec![(EntityKind::User, account("userAccount"))],
        "deviceevidence" => vec![(EntityKind::Device, text(&["deviceDnsName"]).or_else(|| text(&["hostName"])))],
        "ipevidence" => vec![(EntityKind::Ip, text(&["ipAddress"]))],
        "urlevidence" => vec![(EntityKind::Url, text(&["url"]))],
        "fileevidence" => vec![
            (EntityKind::File, file("fileDetails")),
            (EntityKind::FileHash, text(&["fileDetails", "sha256"]).or_else(|| text(&["fileDetails", "sha1"]))),
        ],
        "processevidence" => {
            vec![(EntityKind::Process, text(&["processCommandLine"]).or_else(|| file("imageFile")))]
        }
        "mailboxevidence" => vec![(EntityKind::Mailbox, text(&["primaryAddress"]))],
        "analyzedmessageevidence" => {
            vec![(EntityKind::MailMessage, text(&["subject"]).or_else(|| text(&["internetMessageId"])))]
        }
        "cloudapplicationevidence" | "oauthapplicationevidence" => {
            vec![(EntityKind::CloudApplication, text(&["displayName"]).or_else(|| text(&["appId"])))]
        }
        "azureresourceevidence" | "amazonresourceevidence" | "googlecloudresourceevidence" => vec![(
            EntityKind::CloudResource,
            text(&["resourceId"])
                .or_else(|| text(&["amazonResourceId"]))
                .or_else(|| text(&["fullResourceName"]))
                .or_else(|| text(&["resourceName"])),
        )],
        "registrykeyevidence" => {
            vec![(EntityKind::RegistryKey, joined(text(&["registryHive"]), text(&["registryKey"]), None))]
        }
        "registryvalueevidence" => vec![(
            EntityKind::RegistryKey,
            joined(text(&["registryHive"]), text(&["registryKey"]), text(&["registryValueName"])),
        )],
        "securitygroupevidence" => vec![(EntityKind::SecurityGroup, text(&["displayName"]))],
        _ => {
            let whole = serde_json::to_string(evidence).unwrap_or_default();
            odds.keep(field, &whole, format!("\"{said}\" is no kind of evidence that is known here"));
            Vec::new()
        }
    };
    found.into_iter().filter_map(|(kind, value)| Some(entity(kind, &value?, verdict))).collect()
}

fn verdict_of(evidence: &Map<String, Value>, field: &str, odds: &mut Odds) -> Option<Verdict> {
    let word = evidence.get("verdict").filter(|word| !word.is_null())?;
    let text = word.as_str().map_or_else(|| word.to_string(), str::to_owned);
    odds.word(&format!("{field}.verdict"), Some(&text), words::verdict)
}

/// Returns the text in nested objects, if there is a text that is not blank.
fn text_at(evidence: &Map<String, Value>, path: &[&str]) -> Option<String> {
    let (first, rest) = path.split_first()?;
    let value = rest.iter().try_fold(evidence.get(*first)?, |value, name| value.get(*name))?;
    value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn joined(hive: Option<String>, key: Option<String>, value: Option<String>) -> Option<String> {
    let path = [hive, key, value].into_iter().flatten().collect::<Vec<_>>().join("\\");
    (!path.is_empty()).then_some(path)
}

/// Makes an entity. A value that is too long is cut later, where the cut is reported.
pub(crate) fn entity(kind: EntityKind, value: &str, verdict: Option<Verdict>) -> EntityRecord {
    EntityRecord { kind, value: value.replace('\0', "").trim().to_owned(), verdict }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sentinel(entities: &Value) -> Vec<(EntityKind, String)> {
        let mut odds = Odds::new(1, "");
        let named = of_sentinel(entities.as_array().unwrap(), "entities", &mut odds);
        assert_eq!(odds.into_parts(), []);
        named.into_iter().map(|entity| (entity.kind, entity.value)).collect()
    }

    #[test]
    fn sentinel_entities_become_lines_and_references_are_followed() {
        let entities = json!([
            { "$id": "1", "Type": "host", "HostName": "fin-ws-07", "DnsDomain": "corp.example" },
            { "$id": "2", "Type": "account", "Name": "j.lund", "NTDomain": "CORP", "Host": { "$ref": "1" } },
            { "$id": "3", "Type": "file", "Directory": "c:\\users\\public\\", "Name": "up.exe" },
            { "$id": "4", "Type": "process", "CommandLine": "", "ImageFile": { "$ref": "3" } },
            { "$id": "5", "Type": "registry-key", "Hive": "HKLM", "Key": "software\\run" },
            { "$id": "6", "Type": "registry-value", "Key": { "$ref": "5" }, "Name": "updater" },
            { "$id": "7", "Type": "host-logon-session", "SessionId": "0x3e7" },
            { "kind": "Account", "properties": { "accountName": "svc-backup", "ntDomain": "corp" } },
        ]);
        let expected = [
            (EntityKind::Device, "fin-ws-07.corp.example"),
            (EntityKind::User, "CORP\\j.lund"),
            (EntityKind::File, "c:\\users\\public\\up.exe"),
            (EntityKind::Process, "c:\\users\\public\\up.exe"),
            (EntityKind::RegistryKey, "HKLM\\software\\run"),
            (EntityKind::RegistryKey, "HKLM\\software\\run\\updater"),
            (EntityKind::User, "corp\\svc-backup"),
        ];
        assert_eq!(sentinel(&entities), expected.map(|(kind, value)| (kind, value.to_owned())));
    }

    #[test]
    fn graph_evidence_carries_its_verdict() {
        let evidence = json!({
            "@odata.type": "#microsoft.graph.security.fileEvidence", "verdict": "malicious",
            "fileDetails": { "fileName": "inv.iso", "filePath": "C:\\Users\\lund\\Downloads", "sha256": "ab12" },
        });
        let mut odds = Odds::new(1, "");
        let entities = of_graph(evidence.as_object().unwrap(), "evidence.0", &mut odds);
        assert_eq!(
            entities[0],
            entity(EntityKind::File, "C:\\Users\\lund\\Downloads\\inv.iso", Some(Verdict::Malicious))
        );
        assert_eq!(entities[1], entity(EntityKind::FileHash, "ab12", Some(Verdict::Malicious)));
        let odd = json!({ "@odata.type": "#microsoft.graph.security.ipEvidence", "verdict": "purple", "ipAddress": "192.0.2.4" });
        assert_eq!(
            of_graph(odd.as_object().unwrap(), "evidence.1", &mut odds),
            [entity(EntityKind::Ip, "192.0.2.4", None)]
        );
        let new = json!({ "@odata.type": "#microsoft.graph.security.brandNewEvidence", "verdict": 5 });
        assert_eq!(of_graph(new.as_object().unwrap(), "evidence.2", &mut odds), []);
        let told: Vec<(String, String)> = odds.into_parts().into_iter().map(|odd| (odd.field, odd.reason)).collect();
        let told: Vec<(&str, &str)> = told.iter().map(|(field, reason)| (field.as_str(), reason.as_str())).collect();
        assert_eq!(
            told,
            [
                ("evidence.1.verdict", "\"purple\" is no verdict"),
                ("evidence.2.verdict", "\"5\" is no verdict"),
                ("evidence.2", "\"brandNewEvidence\" is no kind of evidence that is known here"),
            ]
        );
    }
}
