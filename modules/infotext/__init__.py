"""The text that tells how a picture was made: written in A1111's form, read in everybody's."""

from modules.infotext.pictures import words_of as words_of
from modules.infotext.read import Known as Known
from modules.infotext.read import Reading as Reading
from modules.infotext.read import interpret as interpret
from modules.infotext.words import Words as Words
from modules.infotext.words import parse as parse
from modules.infotext.words import quote as quote
from modules.infotext.words import render as render
from modules.infotext.write import write as write
