"""Java and the jars that a local Kafka is made of: where they are, and how to get them.

The jars come from an unpacked Kafka ($KAFKA_HOME) or, through Maven, into a cache directory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from streambench.errors import ConfigError

VERSION = '4.1.0'
MAVEN_S = 900.0

GET_JARS = 'get them with scripts/kafka jars, or set $KAFKA_HOME to an unpacked Kafka'

# slf4j-simple writes why a start failed; Kafka alone would keep it to itself.
POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>streambench</groupId><artifactId>kafka-jars</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""


def cache_directory() -> Path:
    """Return where streambench keeps what belongs to Kafka."""
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(base) / 'streambench' / 'kafka'


def find_java() -> str:
    """Return the java program.

    Raises:
        ConfigError: If there is none.
    """
    java = shutil.which('java')
    home = os.environ.get('JAVA_HOME')
    if java is None and home:
        java = shutil.which('java', path=str(Path(home) / 'bin'))
    if java is None:
        raise ConfigError(
            'Kafka needs Java 17 or newer and there is no java on PATH or in $JAVA_HOME: '
            'install it, for example with apt-get install openjdk-17-jre-headless.'
        )
    return java


def find_jars() -> Path:
    """Return the directory with Kafka's jars: that of $KAFKA_HOME, else the fetched ones.

    Raises:
        ConfigError: If there are none.
    """
    home = os.environ.get('KAFKA_HOME')
    if home:
        directory = Path(home) / 'libs'
        if not any(directory.glob('kafka_2.*.jar')):
            raise ConfigError(f'$KAFKA_HOME: {home!r} has no Kafka jars in libs: {GET_JARS}.')
        return directory
    directory = _fetched_jars()
    if not directory.is_dir():
        raise ConfigError(f'there are no Kafka jars in {str(directory)!r}: {GET_JARS}.')
    return directory


def _fetched_jars() -> Path:
    return cache_directory() / f'jars-{VERSION}'


def fetch_jars() -> Path:
    """Get Kafka's jars by Maven, unless they are there; return their directory.

    Raises:
        ConfigError: If there is no Maven, or it fails.
    """
    target = _fetched_jars()
    if target.is_dir():
        return target
    maven = shutil.which('mvn')
    if maven is None:
        raise ConfigError(
            'getting the Kafka jars needs Maven and there is no mvn on PATH: install it, for '
            'example with apt-get install maven, or set $KAFKA_HOME to an unpacked Kafka.'
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        pom = Path(work) / 'pom.xml'
        pom.write_text(POM, encoding='utf-8')
        jars = Path(work) / 'jars'
        command = [maven, '-B', '-q', '-f', str(pom), 'dependency:copy-dependencies']
        command += ['-DincludeScope=runtime', f'-DoutputDirectory={jars}']
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=MAVEN_S
            )
        except subprocess.TimeoutExpired:
            raise ConfigError(
                f'Maven did not get the Kafka jars within {MAVEN_S:.0f} s: try again.'
            ) from None
        if done.returncode != 0:
            lines = [line for line in done.stdout.splitlines() if 'ERROR' in line]
            reason = lines[0] if lines else done.stderr.strip() or 'no reason given'
            raise ConfigError(
                f'Maven could not get the Kafka jars ({reason}): check the network and try again, '
                'or set $KAFKA_HOME to an unpacked Kafka.'
            )
        # A rename is all or nothing; somebody else may have been quicker.
        with suppress(OSError):
            jars.rename(target)
    return target


def available_jars() -> Path:
    """Return the directory with Kafka's jars; get them first if they are missing."""
    return find_jars() if os.environ.get('KAFKA_HOME') else fetch_jars()
