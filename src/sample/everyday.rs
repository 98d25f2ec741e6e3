//! Stories of every shift: failed attempts, and unwanted software.

use super::stories::{CLOUD, ENDPOINT, IDENTITY, MAIL, NETWORK, Stage, Story, expected, real, wrong};
use crate::domain::classification::{ExpectedActivity, FalsePositiveReason, Threat};
use crate::domain::entity::EntityKind::{
    CloudApplication, CloudResource, Device, Domain, FileHash, Ip, MailMessage, Mailbox, Process, RegistryKey, User,
};
use crate::domain::entity::Verdict::{Malicious, NoThreatsFound, Suspicious};
use crate::domain::incident::Severity::{High, Informational, Low, Medium};
use crate::domain::tag::TagKind;

/// The stories of this file.
pub(crate) const STORIES: &[Story] = &[
    Story {
        weight: 14,
        renamed: "Scanner noise from {inside}",
        tags: &["noise"],
        system_tags: &[],
        stages: &[
            Stage {
                product: &NETWORK,
                severity: Low,
                category: "Discovery",
                techniques: &["T1046"],
                title: "Port sweep across a server network",
                description: "{inside} tried {n} ports on one network within a minute.",
                entities: &[(Ip, "{inside}", Some(NoThreatsFound)), (Device, "{server}", None)],
                repeat: 6,
                chance: 100,
            },
            Stage {
                product: &NETWORK,
                severity: Informational,
                category: "Reconnaissance",
                techniques: &["T1595.002"],
                title: "Probe for a known web server flaw",
                description: "A request that only scanners send reached {server}.",
                entities: &[(Ip, "{inside}", None), (Device, "{server}", None)],
                repeat: 5,
                chance: 80,
            },
        ],
        remarks: &[
            "Source is the vulnerability scanner after its move to the new network. Asked to have the exception renewed, {ticket}.",
            "Same again as on Monday. Can we please tune this rule?",
        ],
        endings: &[
            expected(
                ExpectedActivity::SecurityTesting,
                "Weekly vulnerability scan from its new address. Exception renewed with {ticket}.",
            ),
            wrong(FalsePositiveReason::NotMalicious, "Monitoring probe of the operations team, not a scan."),
        ],
    },
    Story {
        weight: 11,
        renamed: "Password spray from {ip}",
        tags: &["password spray"],
        system_tags: &[],
        stages: &[
            Stage {
                product: &IDENTITY,
                severity: Medium,
                category: "Credential Access",
                techniques: &["T1110.003"],
                title: "One password tried against many accounts",
                description: "{n} accounts had one or two failed sign-ins from {ip} within half an hour.",
                entities: &[(Ip, "{ip}", Some(Malicious)), (User, "{user}", None), (User, "{user2}", None)],
                repeat: 4,
                chance: 100,
            },
            Stage {
                product: &IDENTITY,
                severity: High,
                category: "Initial Access",
                techniques: &["T1078"],
                title: "Sign-in succeeded after a series of failures",
                description: "{user} signed in from {ip} after {few} failures.",
                entities: &[(User, "{user}", Some(Suspicious)), (Ip, "{ip}", Some(Malicious))],
                repeat: 1,
                chance: 35,
            },
        ],
        remarks: &[
            "Blocked `{ip}` and its network at the edge. Nobody got in as far as the log shows.",
            "{name} says that the sign-in was not theirs. Password renewed, second factor held.",
        ],
        endings: &[
            real(Threat::Other, "Spray without success, source blocked for 30 days."),
            real(
                Threat::CompromisedAccount,
                "One weak password was guessed; the second factor stopped the session. Password renewed.",
            ),
            wrong(
                FalsePositiveReason::NotEnoughDataToValidate,
                "The log of the old gateway does not say which accounts were tried.",
            ),
        ],
    },
    Story {
        weight: 10,
        renamed: "Loader from a mail attachment on {host}",
        tags: &["malware"],
        system_tags: &[(TagKind::AutomaticAction, "File quarantined")],
        stages: &[
            Stage {
                product: &MAIL,
                severity: Medium,
                category: "Initial Access",
                techniques: &["T1566.001"],
                title: "Attachment with a disk image was delivered",
                description: "A disk image with a shortcut inside reached {user}.",
                entities: &[
                    (Mailbox, "{user}", None),
                    (MailMessage, "Customs form for shipment {ticket}", Some(Malicious)),
                    (FileHash, "{hash}", Some(Malicious)),
                ],
                repeat: 2,
                chance: 100,
            },
            Stage {
                product: &ENDPOINT,
                severity: High,
                category: "Execution",
                techniques: &["T1204.002", "T1218.011"],
                title: "Shortcut in a mounted image started a system tool",
                description: "A shortcut started a tool of the system with a library from the same image.",
                entities: &[
                    (Device, "{host}", Some(Malicious)),
                    (User, "{user}", None),
                    (Process, "rundll32.exe E:\\\\form.dat,Start", Some(Malicious)),
                ],
                repeat: 2,
                chance: 70,
            },
            Stage {
                product: &ENDPOINT,
                severity: Medium,
                category: "Persistence",
                techniques: &["T1547.001"],
                title: "Start entry written by a program from a temporary folder",
                description: "A program from a temporary folder entered itself to start with the session.",
                entities: &[
                    (Device, "{host}", Some(Suspicious)),
                    (
                        RegistryKey,
                        "HKCU\\\\Software\\\\Microsoft\\\\Windows\\\\CurrentVersion\\\\Run\\\\FormHelper",
                        Some(Malicious),
                    ),
                ],
                repeat: 1,
                chance: 45,
            },
            Stage {
                product: &NETWORK,
                severity: Medium,
                category: "Command and Control",
                techniques: &["T1105"],
                title: "Second stage fetched from a young domain",
                description: "{host} fetched {n} KB from {bad}, registered nine days ago.",
                entities: &[(Device, "{host}", None), (Domain, "{bad}", Some(Malicious))],
                repeat: 2,
                chance: 40,
            },
        ],
        remarks: &[
            "Quarantined on first run. {host} goes back to the store for a new image anyway.",
            "Purged the message from {few} more mailboxes, one of them had opened it on a phone only.",
        ],
        endings: &[
            real(
                Threat::Malware,
                "Loader stopped by the endpoint sensor before it reached its server. Workstation re-imaged.",
            ),
            real(Threat::Phishing, "Attachment was opened on a phone, where it does nothing. Messages purged."),
            wrong(
                FalsePositiveReason::NotMalicious,
                "Driver package of the label printers, packed by the vendor in a disk image.",
            ),
        ],
    },
    Story {
        weight: 8,
        renamed: "Prompt bombing of {name}",
        tags: &["mfa fatigue"],
        system_tags: &[],
        stages: &[
            Stage {
                product: &IDENTITY,
                severity: Medium,
                category: "Credential Access",
                techniques: &["T1621"],
                title: "Many sign-in prompts denied in a short time",
                description: "{user} denied {few} prompts within ten minutes.",
                entities: &[(User, "{user}", None), (Ip, "{ip}", Some(Suspicious))],
                repeat: 3,
                chance: 100,
            },
            Stage {
                product: &IDENTITY,
                severity: High,
                category: "Initial Access",
                techniques: &["T1078.004"],
                title: "Prompt approved after a series of denials",
                description: "{user} approved a prompt for a session from {ip}.",
                entities: &[(User, "{user}", Some(Suspicious)), (Ip, "{ip}", Some(Malicious))],
                repeat: 1,
                chance: 40,
            },
        ],
        remarks: &[
            "{name} pressed approve to make it stop. Session was two minutes old when I ended it.",
            "Number matching is now on for the whole {few}th floor.",
        ],
        endings: &[
            real(
                Threat::CompromisedAccount,
                "Approved by mistake; session ended within minutes, password renewed, number matching switched on.",
            ),
            real(Threat::Other, "Prompts denied, password renewed since it must be known to somebody."),
        ],
    },
    Story {
        weight: 6,
        renamed: "Payment diversion attempt in the name of {name2}",
        tags: &["bec", "finance"],
        system_tags: &[(TagKind::AttackType, "BEC fraud")],
        stages: &[
            Stage {
                product: &MAIL,
                severity: High,
                category: "Impersonation",
                techniques: &["T1656", "T1534"],
                title: "Message in the name of an executive asks for a payment",
                description: "The display name is {name2}, the address is of {bad}.",
                entities: &[
                    (Mailbox, "{user}", None),
                    (MailMessage, "Quick favour before the board call", Some(Malicious)),
                    (Domain, "{bad}", Some(Malicious)),
                ],
                repeat: 2,
                chance: 100,
            },
            Stage {
                product: &MAIL,
                severity: Medium,
                category: "Collection",
                techniques: &["T1114.002"],
                title: "Thread with a supplier continued from a look-alike domain",
                description: "The thread about an open invoice goes on from {bad}.",
                entities: &[(Mailbox, "{user}", None), (Domain, "{bad}", Some(Malicious))],
                repeat: 2,
                chance: 55,
            },
        ],
        remarks: &[
            "Called {name}: an invoice of 48,200 was **prepared but not sent**. Bank is informed.",
            "Supplier confirms that their mailbox was broken into last week.",
        ],
        endings: &[
            real(
                Threat::Phishing,
                "Impersonation of an executive. No payment was made; domain blocked, finance told again to call back.",
            ),
            real(
                Threat::CompromisedAccount,
                "The supplier's mailbox was taken over. Payment stopped by the bank, supplier informed.",
            ),
        ],
    },
    Story {
        weight: 7,
        renamed: "Consent to an unknown application by {name}",
        tags: &["oauth", "cloud"],
        system_tags: &[],
        stages: &[
            Stage {
                product: &IDENTITY,
                severity: Medium,
                category: "Persistence",
                techniques: &["T1528", "T1098.003"],
                title: "Consent given to an unverified application that reads mail",
                description: "{user} let an application without a verified publisher read mail and files.",
                entities: &[(User, "{user}", None), (CloudApplication, "Calendar Sync Plus", Some(Suspicious))],
                repeat: 1,
                chance: 100,
            },
            Stage {
                product: &CLOUD,
                severity: Medium,
                category: "Collection",
                techniques: &["T1114.002"],
                title: "Application reads mailboxes at an unusual rate",
                description: "The application read {n} messages in five minutes.",
                entities: &[
                    (CloudApplication, "Calendar Sync Plus", Some(Malicious)),
                    (Mailbox, "{user}", None),
                    (Ip, "{ip}", None),
                ],
                repeat: 3,
                chance: 60,
            },
        ],
        remarks: &[
            "Grant revoked and the application blocked for everybody. {few} more people had agreed to it.",
            "Publisher is a real company, but their token store leaked in spring.",
        ],
        endings: &[
            real(
                Threat::Phishing,
                "Consent phishing. Grants revoked, application blocked, nothing but calendars was read.",
            ),
            expected(
                ExpectedActivity::LineOfBusinessApplication,
                "Pilot of the travel team, now reviewed and entered in the list of applications.",
            ),
        ],
    },
    Story {
        weight: 5,
        renamed: "Coin miner in {cloud}",
        tags: &["cloud", "miner"],
        system_tags: &[],
        stages: &[
            Stage {
                product: &CLOUD,
                severity: Medium,
                category: "Execution",
                techniques: &["T1610"],
                title: "Container started from an image that is not in the registry",
                description: "An image without a signature runs in {cloud}.",
                entities: &[(CloudResource, "{cloud}", Some(Suspicious)), (FileHash, "{hash}", Some(Suspicious))],
                repeat: 2,
                chance: 100,
            },
            Stage {
                product: &NETWORK,
                severity: High,
                category: "Impact",
                techniques: &["T1496"],
                title: "Traffic to a mining pool",
                description: "{inside} talks to a mining pool at {ip}.",
                entities: &[
                    (Ip, "{inside}", None),
                    (Ip, "{ip}", Some(Malicious)),
                    (CloudResource, "{cloud}", Some(Malicious)),
                ],
                repeat: 3,
                chance: 80,
            },
        ],
        remarks: &[
            "The way in was the dashboard of staging, open to the world since {ticket}.",
            "Node drained and replaced, image kept for {name2} to look at.",
        ],
        endings: &[
            real(
                Threat::Malware,
                "Miner through an open dashboard. Closed, node replaced, rule for unsigned images now enforced.",
            ),
            real(
                Threat::UnwantedSoftware,
                "A developer mined on a test machine over the weekend. Talked to, machine removed.",
            ),
        ],
    },
];
