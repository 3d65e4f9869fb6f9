// What mailauth says of each DKIM signature of the mails on standard input, as JSON.
"use strict";

const { dkimVerify } = require("mailauth/lib/dkim/verify");

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const { mails, records } = JSON.parse(Buffer.concat(chunks));
  const resolver = async (name, type) => {
    if (type === "TXT" && records[name]) return [[records[name]]];
    throw Object.assign(new Error("no such name"), { code: "ENOTFOUND" });
  };
  const answers = [];
  for (const mail of mails) {
    const { results } = await dkimVerify(Buffer.from(mail, "base64"), { resolver });
    answers.push(results.map((result) => result.status.result));
  }
  console.log(JSON.stringify(answers));
}

main();
