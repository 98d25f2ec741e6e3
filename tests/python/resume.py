"""Follows a queue with gql, a client in Python, through any number of restarts of the server. After each restart it
resumes from the last position.

    python resume.py [SUBPROTOCOL] WS_URL

Prints a line for each item: its kind and the title of its row. Without SUBPROTOCOL, gql offers two subprotocols, the
older subprotocol first.
"""

import asyncio
import sys

from gql import Client, gql
from gql.transport.exceptions import TransportError
from gql.transport.websockets import WebsocketsTransport

QUERY = """subscription Follow($after: String) {
  incidentQueue(after: $after) {
    __typename
    position
    ... on QueueEntered { row { title } }
  }
}"""


async def main(url, subprotocols=None):
    after = None
    while True:
        transport = WebsocketsTransport(url=url, subprotocols=subprotocols)
        request = gql(QUERY)
        request.variable_values = {"after": after}
        try:
            async with Client(transport=transport) as session:
                async for result in session.subscribe(request):
                    item = result["incidentQueue"]
                    after = item["position"]
                    print(item["__typename"], (item.get("row") or {}).get("title", ""), flush=True)
                sys.exit("the desk has ended the stream")
        except (TransportError, OSError):
            await asyncio.sleep(0.05)


asyncio.run(main(sys.argv[-1], sys.argv[1:-1] or None))
