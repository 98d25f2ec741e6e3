#!/usr/bin/env python3
"""Searches the schema for the most expensive requests that a desk accepts, and measures their effect on other clients.

  scripts/worst.py search [BINARY]     prints the table of docs/OPERATIONS.md (SECONDS_A_KIND=60 for each kind, SEED=1)
  scripts/worst.py refused [BINARY]    measures the refusal of the largest requests, and /healthz beside ten at once
  scripts/worst.py load [BINARY]       lets 20 clients send the most expensive requests for LONG=20 seconds, while 10
                                       analysts work and 500 screens watch

It starts the binary on its own sample desk, on loopback, and reads CPU time and memory of that process from /proc. It
makes documents at random from the introspected schema, and then changes the most expensive accepted documents at
random. It needs Python 3.11 and the standard library.
"""
import asyncio, base64, json, os, random, shutil, socket, struct, subprocess, sys, tempfile, time, urllib.request

INTROSPECTION = """{ __schema { queryType { name } mutationType { name } subscriptionType { name } types { kind name
  fields(includeDeprecated: true) { name args { name defaultValue type { ...T } } type { ...T } }
  inputFields { name defaultValue type { ...T } } enumValues { name } possibleTypes { name } } } }
  fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }"""
TICKS = os.sysconf("SC_CLK_TCK")
TEXTS = ["a", "e", "multi", "credential access", "10.0.", "zzzz"]


class Desk:
    """A running desk on sample data."""

    def __init__(self, binary):
        self.folder = tempfile.mkdtemp(prefix="watchfloor-worst-")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        log = open(f"{self.folder}/log", "w")
        command = [binary, "demo", "--file", f"{self.folder}/desk.db", "--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        for _ in range(3000):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz")
                break
            except OSError:
                time.sleep(0.1)

    def ask(self, document, variables=None, accept="application/json", wait=60.0):
        """Returns the body of the answer, and whether the desk accepted the request."""
        body = json.dumps({"query": document, "variables": variables or {}}).encode()
        headers = {"Content-Type": "application/json", "Accept": accept}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/graphql", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=wait) as answer:
                got = answer.read() if accept == "application/json" else answer.read1(1 << 20)
        except urllib.error.HTTPError as error:
            got = error.read()
        except OSError as error:
            return repr(error).encode(), False
        return got, b'"errors"' not in got[:2000] and b'"errors"' not in got[-4000:]

    def cpu(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self, which):
        lines = open(f"/proc/{self.process.pid}/status")
        return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024

    def forget_peak(self):
        open(f"/proc/{self.process.pid}/clear_refs", "w").write("5")

    def measured(self, work):
        """Runs `work`. Returns its CPU seconds, the MiB by which memory grew, and its result."""
        self.forget_peak()
        memory, cpu = self.memory("VmRSS"), self.cpu()
        result = work()
        return self.cpu() - cpu, max(0.0, self.memory("VmHWM") - memory), result

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder)


class Schema:
    """The schema of a desk, and random requests of it."""

    def __init__(self, desk, dice):
        self.dice = dice
        told = json.loads(desk.ask(INTROSPECTION)[0])["data"]["__schema"]
        self.types = {kind["name"]: kind for kind in told["types"]}
        self.roots = {kind: told[f"{kind}Type"]["name"] for kind in ("query", "mutation", "subscription")}
        page = json.loads(desk.ask("{ incidents(first: 50, filter: {status: [NEW, ACTIVE, RESOLVED]}) { nodes { id alerts(first: 3) { nodes { id } } } } users { nodes { id } } }")[0])
        nodes = (page.get("data") or {}).get("incidents", {}).get("nodes", [])
        self.ids = {"incident": [node["id"] for node in nodes],
                    "alert": [alert["id"] for node in nodes for alert in node["alerts"]["nodes"]],
                    "user": [user["id"] for user in (page.get("data") or {}).get("users", {}).get("nodes", [])]}

    def base(self, ty):
        while ty.get("ofType"):
            ty = ty["ofType"]
        return self.types[ty["name"]]

    def value(self, ty, name, depth=0):
        """Returns a random literal of a type. Lists may be large."""
        dice = self.dice
        if ty["kind"] == "NON_NULL":
            return self.value(ty["ofType"], name, depth)
        if ty["kind"] == "LIST":
            length = dice.choice([1, 2, 20, 100]) if depth < 2 else 1
            return "[" + ",".join(self.value(ty["ofType"], name, depth + 1) for _ in range(min(length, 40 if depth else 100))) + "]"
        kind = self.types[ty["name"]]
        if kind["kind"] == "ENUM":
            return dice.choice(kind["enumValues"])["name"]
        if kind["kind"] == "INPUT_OBJECT":
            fields = kind["inputFields"]
            must = [field for field in fields if field["type"]["kind"] == "NON_NULL" and field["defaultValue"] is None]
            more = [field for field in fields if field not in must and depth < 4]
            if not must and all(field["defaultValue"] is None for field in fields) and kind["name"].endswith(("Target", "OwnerInput", "MomentInput", "TargetInput", "ClassificationInput")):
                must, more = [dice.choice(fields)], []
            more = dice.sample(more, min(len(more), dice.choice([0, 1, 1, 2, 3])))
            return "{" + ",".join(f"{field['name']}:{self.value(field['type'], field['name'], depth + 1)}" for field in must + more) + "}"
        return {"Int": lambda: str(dice.choice([1, 20, 100]) if name not in ("first", "last") else dice.choice([20, 100])),
                "Float": lambda: "1.5", "Boolean": lambda: dice.choice(["true", "false"]),
                "ID": lambda: json.dumps(self.id(name)), "DateTime": lambda: '"2020-01-01T00:00:00Z"',
                "UUID": lambda: '"%s"' % __import__("uuid").UUID(int=dice.getrandbits(128), version=4),
                "JSON": lambda: '{a:1}', "String": lambda: json.dumps(dice.choice(TEXTS))}.get(kind["name"], lambda: '"a"')()

    def id(self, name):
        for noun in ("alert", "user"):
            if noun in name.lower() and self.ids[noun]:
                return self.dice.choice(self.ids[noun])
        return self.dice.choice(self.ids["incident"] or ["incident:0"])

    def field(self, field, depth):
        dice = self.dice
        must = [arg for arg in field["args"] if arg["type"]["kind"] == "NON_NULL" and arg["defaultValue"] is None]
        more = [arg for arg in field["args"] if arg not in must and arg["name"] not in ("after", "before", "minPosition")]
        names = {arg["name"] for arg in more}
        chosen = [arg for arg in more if arg["name"] == "first" or dice.random() < 0.4]
        if "first" in names:
            chosen = [arg for arg in chosen if arg["name"] != "last"]
        if {"id", "number"} <= names:
            chosen = [arg for arg in more if arg["name"] == "id"]
        args = [f"{arg['name']}:{self.value(arg['type'], arg['name'])}" for arg in must + chosen]
        return (field["name"], f"({','.join(args)})" if args else "", self.selection(self.base(field["type"]), depth + 1))

    def selection(self, kind, depth):
        if kind["kind"] in ("INTERFACE", "UNION"):
            return [("__typename", "", [])] + [(f"... on {it['name']}", "", self.selection(self.types[it["name"]], depth + 1)) for it in kind["possibleTypes"][:12] if depth < 7]
        if kind["kind"] != "OBJECT":
            return []
        fields = kind["fields"]
        leaves = [field for field in fields if self.base(field["type"])["kind"] in ("SCALAR", "ENUM") and not any(arg["type"]["kind"] == "NON_NULL" for arg in field["args"])]
        chosen = self.dice.sample(leaves, min(len(leaves), self.dice.choice([1, 3, 30])))
        if depth < 8:
            deep = [field for field in fields if self.base(field["type"])["kind"] not in ("SCALAR", "ENUM")]
            chosen += self.dice.sample(deep, min(len(deep), self.dice.choice([1, 1, 2])))
        made = [self.field(field, depth) for field in chosen]
        return [it for it in made if it[2] or self.base(next(f for f in fields if f["name"] == it[0])["type"])["kind"] in ("SCALAR", "ENUM")] or [("__typename", "", [])]

    def request(self, kind):
        """Returns a random request: a root field, and the number of its aliases."""
        root = self.types[self.roots[kind]]
        return {"kind": kind, "aliases": self.dice.choice([1, 3, 10, 30]) if kind != "subscription" else 1, "root": self.field(self.dice.choice(root["fields"]), 0)}

    def changed(self, request):
        """Returns a request with one random change."""
        change = self.dice.random()
        if change < 0.3 and request["kind"] != "subscription":
            return {**request, "aliases": max(1, min(30, request["aliases"] + self.dice.choice([-10, -3, -1, 1, 3, 10])))}
        root = next(field for field in self.types[self.roots[request["kind"]]]["fields"] if field["name"] == request["root"][0])
        fresh = self.field(root, 0)
        if change < 0.6:
            return {**request, "root": (fresh[0], fresh[1], request["root"][2])}
        if change < 0.85:
            return {**request, "root": (fresh[0], request["root"][1], request["root"][2] + fresh[2])}
        return {**request, "root": (fresh[0], request["root"][1], fresh[2])}


def written(request):
    def one(field):
        name, args, below = field
        seen = {}
        for it in below:
            seen.setdefault(it[0], it)
        return name + args + ("{" + " ".join(map(one, seen.values())) + "}" if below else "")
    if request["kind"] == "subscription":
        return "subscription{" + one(request["root"]) + "}"
    return request["kind"] + "{" + " ".join(f"a{n}:{one(request['root'])}" for n in range(request["aliases"])) + "}"


def search(desk, schema, kind, seconds):
    """Returns the most expensive accepted requests of a kind, as (CPU, memory, bytes, request), by CPU and by memory.

    It also returns how many requests were tried, and how many were accepted.
    """
    best, tried, accepted, end = ([], []), 0, 0, time.time() + seconds
    accept = "text/event-stream" if kind == "subscription" else "application/json"
    while time.time() < end:
        dice = schema.dice
        request = schema.changed(dice.choice(dice.choice(best))[3]) if best[0] and dice.random() < 0.7 else schema.request(kind)
        document = written(request)
        cpu, memory, (answer, well) = desk.measured(lambda: desk.ask(document, accept=accept, wait=30))
        tried += 1
        if well and answer:
            accepted += 1
            best = tuple(sorted(best[by] + [(cpu, memory, len(answer), request)], key=lambda it: -it[by])[:8] for by in (0, 1))
    return best, tried, accepted


def rows(kind, best, tried, accepted):
    """Yields a table row for the most expensive request by CPU, and a row for the most expensive request by memory."""
    for what, found in zip(("CPU", "memory"), best):
        if not found:
            yield f"| {kind} | | | | none of {tried} was accepted |"
            return
        cpu, memory, size, request = found[0]
        shown = written(request)
        shown = shown[:70] + "…" if len(shown) > 70 else shown
        yield f"| {kind}, by {what} | {cpu:.2f} s | {memory:.0f} MiB | {size / 1024:.0f} KiB | {request['aliases']} × `{request['root'][0]}`, {accepted} of {tried} accepted: `{shown}` |"


def imported(binary, desk):
    """Returns the table row of the most expensive import of 8 MiB: alerts with many entities, or a few large alerts."""
    worst = (0.0, 0.0, "")
    for entities, length in ((0, 100), (20, 100), (500, 20), (0, 20_000)):
        path = f"{desk.folder}/import.ndjson"
        with open(path, "w") as file:
            number = 0
            while file.tell() < 8 << 20:
                number += 1
                alert = {"type": "alert", "provider": "worst", "providerAlertId": f"{entities}-{length}-{number}", "title": "t" * 60, "severity": "LOW", "description": "d" * length,
                         "entities": [{"kind": "IP", "value": f"10.{entities % 250}.{number % 250}.{n % 250}"} for n in range(entities)]}
                file.write(json.dumps(alert) + "\n")
        before = os.times()
        done = subprocess.run([binary, "import", path, "--database-url", f"sqlite://{desk.folder}/import.db"], capture_output=True)
        after = os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        if done.returncode == 0 and cpu > worst[0]:
            worst = (cpu, 0, f"{number} alerts of {entities} entities and {length} characters")
    return f"| import of 8 MiB | {worst[0]:.1f} s | | | {worst[2] or 'not accepted'} |"


def uploaded(desk):
    """Returns the table row of an upload of the largest image."""
    incident = json.loads(desk.ask("{ incidents(first: 1) { nodes { id } } }")[0])["data"]["incidents"]["nodes"][0]["id"]
    image = b"\x89PNG\r\n\x1a\n" + os.urandom((10 << 20) - 8)
    made, well = desk.ask("mutation($i: CreateAttachmentInput!) { createAttachment(input: $i) { uploadUrl } }",
                          {"i": {"incidentId": incident, "name": "x.png", "type": "PNG", "size": len(image)}})
    if not well:
        return f"| upload of 10 MiB | | | | {made[:80].decode()} |"
    url = f"http://127.0.0.1:{desk.port}{json.loads(made)['data']['createAttachment']['uploadUrl']}"

    def put():
        return urllib.request.urlopen(urllib.request.Request(url, image, {"Content-Type": "image/png"}, method="PUT")).status
    try:
        cpu, memory, status = desk.measured(put)
    except OSError as error:
        return f"| upload of 10 MiB | | | | {error} |"
    return f"| upload of 10 MiB | {cpu:.2f} s | {memory:.0f} MiB | | {status} |"


def hostile(limit):
    """Yields the name and the body of requests of almost the largest size, which the desk must refuse."""
    queue = "query($v: %s) { incidents(filter: %s) { totalCount } }"
    room = limit - 3_000

    def given(document, variables):
        return json.dumps({"query": document, "variables": variables}, separators=(",", ":")).encode()
    yield "a list of empty filters, used 100 times", given(queue % ("[IncidentFilterInput!]", "{or: [" + "{or: $v}" * 100 + "]}"), {"v": [{}] * (room // 3)})
    yield "30 aliases of one list of filters", given("query($v: [IncidentFilterInput!]) {" + " ".join(f"a{n}: incidents(filter: {{or: $v}}) {{ totalCount }}" for n in range(30)) + "}", {"v": [{}] * (room // 3)})
    yield "a list of texts", given(queue % ("[String!]", "{tags: {any: $v}}"), {"v": ["a"] * (room // 4)})
    yield "a list of numbers for a text", given(queue % ("[String!]", "{tags: {any: $v}}"), {"v": [1] * (room // 2)})
    yield "tags of one new incident", given("mutation($v: [String!]) { createIncident(input: {title: \"x\", tags: $v}) { position } }", {"v": ["t"] * (room // 4)})
    yield "ids of nodes", given("query($v: [ID!]!) { nodes(ids: $v) { id } }", {"v": ["incident:0"] * (room // 13)})
    yield "alerts of a batch", given("mutation($v: [AlertInput!]!) { ingestAlerts(input: {alerts: $v}) { position } }", {"v": [{}] * (room // 3)})
    yield "filters inside each other", given(queue % ("IncidentFilterInput", "$v"), "NESTED").replace(b'"NESTED"', b'{"v":' + b'{"not":' * (room // 9) + b"{}" + b"}" * (room // 9) + b"}")
    yield "brackets that open", b'{"query":"{ version }","variables":' + b"[" * room
    yield "names that no input has", given(queue % ("IncidentFilterInput", "$v"), {"v": {f"f{n}": 1 for n in range(room // 13)}})
    yield "one name given many times", b'{"query":"{ version }",' + b'"variables":{},' * (room // 15) + b'"variables":{}}'
    yield "a document of one long line", given("{ " + "version " * (room // 8) + "}", {})
    yield "escapes in a text", b'{"query":"{ version }","variables":{"v":"' + b"\\u0041" * (room // 6) + b'"}}'
    yield "a batch of requests", b"[" + b",".join([b'{"query":"{ version }"}'] * (room // 24)) + b"]"
    yield "no JSON", b"\xff" * room
    # The requests below pass the first check of the body. The desk refuses them for an error at their end.
    entities = [{"kind": "IP", "value": f"10.0.0.{n}"} for n in range(5)]
    alerts = [{"provider": "p", "providerAlertId": f"a{n}", "title": "t" * 100, "severity": "LOW", "entities": entities} for n in range(4_500)]
    yield "a batch of alerts, the last one wrong", given("mutation($v: [AlertInput!]!) { ingestAlerts(input: {alerts: $v}) { position } }", {"v": alerts + [{**alerts[0], "severity": "SEVERE"}]})
    terms = [{"tags": {"any": [f"t{n}-{m}" for m in range(35)]}} for n in range(480)]
    yield "a filter of many terms, the last one wrong", given(queue % ("[IncidentFilterInput!]", "{or: $v}"), {"v": terms + [{"status": ["OLD"]}]})
    yield "a long text to look for", given(queue % ("String", "{text: $v}"), {"v": "a" * room})
    yield "a long title and a wrong severity", given("mutation($v: CreateIncidentInput!) { createIncident(input: $v) { position } }", {"v": {"title": "x" * room, "severity": "SEVERE"}})
    yield "a long comment", given("mutation($v: AddCommentInput!) { addComment(input: $v) { position } }", {"v": {"incidentId": "incident:0", "body": "x " * (room // 2)}})


def refused(desk, limit):
    """Prints the cost of refusing each hostile request, the worst of three runs, and then /healthz beside ten at once."""
    print("| request of up to 2 MiB | CPU | memory beside its body | answer |\n| --- | --- | --- | --- |")
    bodies = list(hostile(limit))
    for name, body in bodies:
        runs = [desk.measured(lambda: asyncio.run(posted(desk.port, body))) for _ in range(3)]
        cpu, memory = max(it[0] for it in runs), max(it[1] for it in runs)
        answer = runs[0][2][1].split(b"\r\n\r\n", 1)[-1][:90].decode(errors="replace").replace("|", "/")
        print(f"| {name} ({len(body) / 1024:.0f} KiB) | {cpu * 1e3:.0f} ms | {memory:.1f} MiB, {memory * 1048576 / len(body):.1f} × | `{answer}` |", flush=True)
    times, stop = [], time.monotonic() + 20

    async def ten_at_once():
        async def attack(number):
            while time.monotonic() < stop:
                await posted(desk.port, bodies[number % len(bodies)][1])
                number += 10

        async def health():
            while time.monotonic() < stop:
                begin = time.monotonic()
                await fetched(desk.port, "/healthz")
                times.append(time.monotonic() - begin)
                await asyncio.sleep(0.02)
        await asyncio.gather(health(), *(attack(number) for number in range(10)))
    asyncio.run(ten_at_once())
    times.sort()
    print(f"/healthz during ten of them at once, 20 s: {len(times)} asked, median {times[len(times) // 2] * 1e3:.1f} ms, p99 {times[len(times) * 99 // 100] * 1e3:.1f} ms, worst {times[-1] * 1e3:.1f} ms")


async def fetched(port, path):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


async def posted(port, body):
    """Posts a body over its own connection, which the desk may close early. Returns the seconds and the answer."""
    begin = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    try:
        answer = await asyncio.wait_for(reader.read(), 60)
    except (OSError, TimeoutError) as error:
        answer = repr(error).encode()
    writer.close()
    return time.monotonic() - begin, answer


async def asked(port, document, account=None):
    """Sends a request over its own connection. Returns the seconds and the answer."""
    begin = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"query": document}).encode()
    actor = f"Watchfloor-Actor: {account}\r\n" if account else ""
    writer.write(f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{actor}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    return time.monotonic() - begin, answer


def frame(text):
    body = text.encode()
    head = bytes([0x81, 0x80 | len(body)]) if len(body) < 126 else bytes([0x81, 0xFE]) + struct.pack(">H", len(body))
    return head + b"\0\0\0\0" + body


async def watch(port, lost, live):
    """Follows the queue as a screen does, until the run ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(f"GET /graphql HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n".encode())
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(frame('{"type":"connection_init"}'))
        query = "subscription { incidentQueue { __typename position } }"
        while True:
            head = await reader.readexactly(2)
            length = head[1] & 127
            if length == 126:
                length = struct.unpack(">H", await reader.readexactly(2))[0]
            elif length == 127:
                length = struct.unpack(">Q", await reader.readexactly(8))[0]
            body = await reader.readexactly(length)
            if head[0] & 15 == 9:
                writer.write(bytes([0x8A, 0x80 | len(body)]) + b"\0\0\0\0" + body)
            elif head[0] & 15 == 8 or b'"error"' in body:
                raise OSError(body[:80])
            elif b'"connection_ack"' in body:
                # Before this message the protocol forbids a subscription, and the desk closes with 4401.
                writer.write(frame(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": query}})))
            elif b'"Live"' in body:
                live.append(1)
    except (OSError, asyncio.IncompleteReadError) as error:
        lost.append(repr(error))


async def work(port, seconds, account):
    """Works as an analyst does: reads a page, adds a tag, pauses. Returns the seconds of each request."""
    taken, end, number = [], time.monotonic() + seconds, 0
    _, page = await asked(port, "{ incidents(first: 10) { nodes { id title } } }")
    ids = [part.split(b'"')[0].decode() for part in page.split(b'"id":"')[1:]]
    while time.monotonic() < end:
        number += 1
        for document in ("{ incidents(first: 50) { totalCount nodes { id title severity status } } }",
                         f'mutation {{ addTags(input: {{ incidentId: "{random.choice(ids)}", tags: ["t{number % 50}"] }}) {{ changed }} }}'):
            seconds_taken, _ = await asked(port, document, account)
            taken.append(seconds_taken)
        await asyncio.sleep(0.5)
    return taken


async def load(desk, worst, seconds):
    port, lost, live = desk.port, [], []
    screens = []
    for _ in range(500):
        screens.append(asyncio.create_task(watch(port, lost, live)))
        await asyncio.sleep(0.005)
    while len(live) + len(lost) < 500:
        await asyncio.sleep(0.1)
    p99 = lambda times: sorted(times)[(len(times) - 1) * 99 // 100]
    analysts = lambda seconds: asyncio.gather(*(work(port, seconds, None) for _ in range(10)))
    idle = p99(sum(await analysts(min(seconds, 60)), []))
    memory = desk.memory("VmRSS")
    desk.forget_peak()
    stop = time.monotonic() + seconds
    async def attack(number):
        sent = 0
        while time.monotonic() < stop:
            try:
                await asked(port, worst[number % len(worst)], "attacker")
            except OSError:
                pass
            sent += 1
        return sent
    attacks = asyncio.gather(*(attack(number) for number in range(20)))
    busy = p99(sum(await analysts(seconds), []))
    sent = sum(await attacks)
    peak = desk.memory("VmHWM")
    await asyncio.sleep(30)
    after = desk.memory("VmRSS")
    for screen in screens:
        screen.cancel()
    print(f"{seconds:.0f} s, {sent} expensive requests: analysts' p99 {idle * 1e3:.0f} ms idle, {busy * 1e3:.0f} ms under load ({busy / idle:.1f} times); "
          f"streams lost {len(lost)} of 500; memory {memory:.0f} MiB before, at most {peak:.0f} MiB, {after:.0f} MiB 30 s after")
    for reason in sorted(set(lost)):
        print(f"  lost {lost.count(reason)}: {reason}")


def main():
    what = sys.argv[1] if len(sys.argv) > 1 else "search"
    binary = sys.argv[2] if len(sys.argv) > 2 else "target/release/watchfloor"
    seconds, dice = float(os.environ.get("SECONDS_A_KIND", "60")), random.Random(int(os.environ.get("SEED", "1")))
    desk = Desk(binary)
    try:
        if what == "refused":
            refused(desk, 2 << 20)
            return
        schema = Schema(desk, dice)
        if what == "load":
            best, _, _ = search(desk, schema, "query", min(seconds, 30))
            desk.ask('mutation { upsertUser(input: { account: "attacker", role: RESPONDER }) { user { id } } }')
            asyncio.run(load(desk, [written(it[3]) for it in best[0] + best[1]], float(os.environ.get("LONG", "20"))))
            return
        print("| request | CPU | memory | answer | what it is |\n| --- | --- | --- | --- | --- |")
        for kind in ("query", "mutation", "subscription"):
            print("\n".join(rows(kind, *search(desk, schema, kind, seconds))), flush=True)
        print(imported(binary, desk), flush=True)
        print(uploaded(desk), flush=True)
    finally:
        desk.stop()


if __name__ == "__main__":
    main()
