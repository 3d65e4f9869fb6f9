// Sends mails with nodemailer, for tests/interop/test_nodemailer.py.
//
// Reads {"transport": …, "mails": […]} from standard input, both as nodemailer takes them. Each mail is composed once,
// and those very octets are sent, so that the test can compare them with what arrives. Writes an array of
// {"raw": base64, "response": …} in the order of the mails, or ends with 1 and the error.
"use strict";

const MailComposer = require("nodemailer/lib/mail-composer");
const nodemailer = require("nodemailer");

async function send(transport, mail) {
  const composed = new MailComposer({ ...mail, newline: "windows" }).compile();
  const raw = await composed.build();
  const info = await transport.sendMail({ envelope: composed.getEnvelope(), raw });
  return { raw: raw.toString("base64"), response: info.response };
}

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const wanted = JSON.parse(Buffer.concat(chunks).toString());
  const transport = nodemailer.createTransport(wanted.transport);
  try {
    const sent = await Promise.all(wanted.mails.map((mail) => send(transport, mail)));
    process.stdout.write(JSON.stringify(sent));
  } finally {
    transport.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
