//! Entities as Microsoft's products write them: by type and with properties of each type's own; and as one line of ours.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::record::EntityRecord;
use super::words;
use crate::domain::alert::ENTITIES_PER_ALERT_MAX;
use crate::domain::entity::{ENTITY_CHARS_MAX, EntityKind, Verdict};

/// The entities of a SecurityAlert row or a Sentinel response. References between them (`$ref`) are followed; what
/// names nothing by itself (a logon session, a connection) is left to the raw payload, and so are those beyond the
/// desk's bound.
pub fn of_sentinel(entities: &[Value]) -> Vec<EntityRecord> {
    let by_id: HashMap<&str, &Value> =
        entities.iter().filter_map(|entity| Some((entity.get("$id")?.as_str()?, entity))).collect();
    let records = entities.iter().filter_map(|entity| Properties::of(entity, &by_id).record());
    records.take(ENTITIES_PER_ALERT_MAX).collect()
}

/// The properties of one entity, whatever their case.
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

    /// The first of these properties that is a text and not blank.
    fn text(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| {
            let text = self.by_name.get(*name)?.as_str()?.trim();
            (!text.is_empty()).then(|| text.to_owned())
        })
    }

    /// The entity in a property, or the one that it refers to.
    fn inner(&self, name: &str) -> Option<Self> {
        let value = *self.by_name.get(name)?;
        let target = match value.get("$ref").and_then(Value::as_str) {
            Some(id) => self.by_id.get(id).copied()?,
            None => value,
        };
        Some(Self::of(target, self.by_id))
    }

    fn record(&self) -> Option<EntityRecord> {
        let kind = self.text(&["kind"]).or_else(|| self.text(&["type"]))?;
        let (kind, value) = match words::squash(&kind).as_str() {
            "account" => (EntityKind::User, self.account()?),
            "host" | "iotdevice" => (EntityKind::Device, self.host()?),
            "ip" => (EntityKind::Ip, self.text(&["address"])?),
            "url" => (EntityKind::Url, self.text(&["url"])?),
            "dns" | "dnsresolution" => (EntityKind::Domain, self.text(&["domainname"])?),
            "file" => (EntityKind::File, self.file()?),
            "filehash" => (EntityKind::FileHash, self.text(&["hashvalue", "value"])?),
            "process" => (EntityKind::Process, self.process()?),
            "mailbox" => (EntityKind::Mailbox, self.text(&["mailboxprimaryaddress", "upn"])?),
            "mailmessage" | "submissionmail" => {
                (EntityKind::MailMessage, self.text(&["subject", "internetmessageid", "networkmessageid"])?)
            }
            "azureresource" => (EntityKind::CloudResource, self.text(&["resourceid"])?),
            "cloudapplication" => (EntityKind::CloudApplication, self.text(&["name", "appname"])?),
            "registrykey" => (EntityKind::RegistryKey, self.registry_key()?),
            "registryvalue" => (EntityKind::RegistryKey, self.registry_value()?),
            "securitygroup" => (EntityKind::SecurityGroup, self.text(&["distinguishedname", "sid"])?),
            "malware" => (EntityKind::Other, self.text(&["name", "malwarename"])?),
            _ => return None,
        };
        Some(entity(kind, &value, None))
    }

    fn account(&self) -> Option<String> {
        let name = self.text(&["name", "accountname", "friendlyname", "displayname"])?;
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

/// The things in a piece of Graph evidence: an account, a device with its address, a file with its hash, ….
pub fn of_graph(evidence: &Map<String, Value>) -> Result<Vec<EntityRecord>, String> {
    let kind = evidence.get("@odata.type").and_then(Value::as_str).unwrap_or_default();
    let kind = words::squash(kind.rsplit('.').next().unwrap_or_default());
    let verdict = words::verdict(evidence.get("verdict").and_then(Value::as_str).unwrap_or_default())?;
    let text = |path: &[&str]| {
        let (first, rest) = path.split_first()?;
        let value = rest.iter().try_fold(evidence.get(*first)?, |value, name| value.get(*name))?;
        value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    };
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
        _ => Vec::new(),
    };
    Ok(found.into_iter().filter_map(|(kind, value)| Some(entity(kind, &value?, verdict))).collect())
}

fn joined(hive: Option<String>, key: Option<String>, value: Option<String>) -> Option<String> {
    let path = [hive, key, value].into_iter().flatten().collect::<Vec<_>>().join("\\");
    (!path.is_empty()).then_some(path)
}

/// An entity, its value cut to what the desk stores: command lines can be longer, and the raw payload has them whole.
pub fn entity(kind: EntityKind, value: &str, verdict: Option<Verdict>) -> EntityRecord {
    EntityRecord { kind, value: value.replace('\0', "").trim().chars().take(ENTITY_CHARS_MAX).collect(), verdict }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sentinel(entities: &Value) -> Vec<(EntityKind, String)> {
        of_sentinel(entities.as_array().unwrap()).into_iter().map(|entity| (entity.kind, entity.value)).collect()
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
        let entities = of_graph(evidence.as_object().unwrap()).unwrap();
        assert_eq!(
            entities[0],
            entity(EntityKind::File, "C:\\Users\\lund\\Downloads\\inv.iso", Some(Verdict::Malicious))
        );
        assert_eq!(entities[1], entity(EntityKind::FileHash, "ab12", Some(Verdict::Malicious)));
        let odd = json!({ "@odata.type": "#microsoft.graph.security.ipEvidence", "verdict": "purple", "ipAddress": "192.0.2.4" });
        assert_eq!(of_graph(odd.as_object().unwrap()).unwrap_err(), "\"purple\" is no verdict");
    }
}
